"""Hydra sweeper on Optuna's ask and tell: resumable storage, early ends, several objectives.

Hydra looks for plugins in this package alone, and imports them at every start: what they need is imported later. The
published plugin of that kind stays with Optuna 2.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches with a sampler of Optuna; a trial is a run of the sweep.

    sampler: of Optuna, such as optuna.samplers.TPESampler.
    pruner: of Optuna, which ends hopeless runs at a validation, or None; several objectives allow none.
    storage: URL of a database, None for a file of SQLite in the folder of the sweep.
    study_name: in that database; None for "idn". Sweeps with one database and one name search together.
    trials: of the whole sweep, those before it was resumed included.
    parallel: trials that a launcher is given at once.
    params: option -> what is searched, such as "interval(0.001,0.01)"; options of the command line come on top.
    """

    def __init__(
        self,
        sampler: Any,
        pruner: Any,
        storage: str | None,
        study_name: str | None,
        trials: int,
        parallel: int,
        params: DictConfig | None,
    ) -> None:
        self.sampler, self.pruner, self.storage, self.study_name = sampler, pruner, storage, study_name
        self.trials, self.parallel, self.params = trials, parallel, dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Sweeper.setup`."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search. arguments: what was typed; see `Sweeper.sweep`."""
        from omegaconf import OmegaConf

        from idn.cli.sweeps.study import Search
        from idn.errors import UserError

        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        options = [*(f"{name}={value}" for name, value in self.params.items()), *arguments]
        try:
            search = Search(self, options, folder)
            with search.alone():
                search.run(self._launched)
        except UserError as error:  # Hydra would print a traceback
            print(f"idn: {error}", file=sys.stderr)
            sys.exit(2)

    def _launched(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[Any]:
        """What a launcher makes of runs, of which the first has the number `first`."""
        return self.launcher.launch(jobs, initial_job_idx=first)
