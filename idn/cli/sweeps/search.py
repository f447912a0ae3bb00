"""Optuna on the command line: search spaces in Hydra's words, the study in its storage, and what a trial reports."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from idn.cli.options.overrides import parsed
from idn.errors import Hopeless, MissingExtra, OptionError, UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

STUDY = "idn"
"""Name of a study in the storage of its sweep, unless the config names it."""


def check_installed(settings: DictConfig) -> None:
    """Raise MissingExtra if a sweep wants to search and Optuna is not there. settings: Hydra's own."""
    if "storage" in settings.sweeper and importlib.util.find_spec("optuna") is None:
        raise MissingExtra("a search needs Optuna:", "sweep")


def search_space(options: Sequence[str]) -> "tuple[dict[str, BaseDistribution], list[str]]":
    """What is searched, by the name of the option, and the options that are the same for all runs.

    options: as Hydra reads them: `choice(a,b)` or `a,b`, `range(1,9,2)`, `interval(0,1)`, with `tag(log, ...)` and
    `int(...)`; the last one of a name counts. Raises UserError if nothing is searched, and for what cannot be.
    """
    space, fixed = {}, {}
    for option in options:
        read, name = parsed(option), option.partition("=")[0]
        for known in (space, fixed):
            known.pop(name, None)
        if read is None or not read.is_sweep_override():
            fixed[name] = option
        else:
            space[name] = _distribution(option, read.value(), [*read.sweep_string_iterator()] if _listed(read) else [])
    if not space:
        raise UserError("there is nothing to search: add an option with several values, such as optim.lr=0.001,0.002")
    return space, list(fixed.values())


def _listed(read: Any) -> bool:
    return not isinstance(read.value(), IntervalSweep | RangeSweep)


def _distribution(option: str, sweep: Any, values: Sequence[str]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(sweep, IntervalSweep):
        log = "log" in sweep.tags
        made = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
        if sweep.start >= sweep.end or (log and sweep.start <= 0):
            raise UserError(f"{option} cannot be searched: an interval rises, and with log it begins above 0")
        return made(sweep.start, sweep.end, log=log)
    if isinstance(sweep, RangeSweep):
        numbers = [*sweep.range()]
        if isinstance(sweep.start, int) and isinstance(sweep.stop, int) and isinstance(sweep.step, int):
            return IntDistribution(min(numbers), max(numbers), step=abs(sweep.step))
        return FloatDistribution(min(numbers), max(numbers), step=abs(sweep.step))
    if isinstance(sweep, ChoiceSweep) and not values:
        raise UserError(f"{option} has no values")
    return CategoricalDistribution(values)


def directions(metric: Any) -> list[str]:
    """ "maximize" or "minimize" for each metric that runs are compared by; None stands for the usual one.

    Raises OptionError for one that has no better direction.
    """
    from idn.metrics.compared import UNSCALED, maximised

    if metric is None:
        assert all(map(maximised, UNSCALED))
        return ["maximize"]
    keys = [str(key) for key in metric] if OmegaConf.is_list(metric) else [str(metric)]
    return ["maximize" if maximised(key) else "minimize" for key in keys]


def storage_url(settings: DictConfig) -> str:
    """Of the study. settings: Hydra's own. A file of SQLite in the folder of the sweep, unless the config names one."""
    given = settings.sweeper.storage
    return str(given) if given is not None else f"sqlite:///{Path(str(settings.sweep.dir)).resolve() / 'optuna.db'}"


def open_storage(url: str) -> Any:
    """The storage. Raises OptionError for one that cannot be opened."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    patient = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else None
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=patient)
    except (SQLAlchemyError, RuntimeError, ImportError, ValueError, OSError) as error:
        said = str(error).splitlines()[0]
        wanted = f"cannot be opened ({said}): give the URL of a database, such as sqlite:///FILE"
        raise OptionError("hydra.sweeper.storage", url, wanted) from error


class Trial:
    """The trial that the run is which goes on in this process."""

    def __init__(self, settings: DictConfig) -> None:
        import optuna

        sweeper = settings.sweeper
        self.study = optuna.load_study(
            study_name=sweeper.study_name or STUDY,
            storage=open_storage(storage_url(settings)),
            pruner=instantiate(sweeper.pruner, _convert_="all"),
        )
        number = int(settings.sweep.subdir)
        frozen = next(one for one in self.study.get_trials(deepcopy=False) if one.number == number)
        self.trial = optuna.Trial(self.study, frozen._trial_id)

    def report(self, step: int, value: float, end: bool) -> None:
        """Tell the study how a run stands.

        step: of the optimizer. value: of the metric at that step. end: whether it was the last step.
        Raises Hopeless if the run need not go on.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            self.trial.report(value, step)
            if end or not self.trial.should_prune():
                return
            self.study.tell(self.trial, state=TrialState.PRUNED)
        except UpdateFinishedTrialError:
            raise Hopeless("the search has gone on without it") from None
        raise Hopeless(f"at step {step} with {value:.4g}, where others were better")


def current_trial() -> Trial | None:
    """The trial that the run of this process is, None if it is none or if none is ended early."""
    if not HydraConfig.initialized():
        return None
    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN or "storage" not in settings.sweeper or settings.sweeper.pruner is None:
        return None
    return Trial(settings)
