"""A run of Hydra's from a config that is composed already.

`hydra.main` composes the options twice, once of it to find out whether they ask for a sweep, and checking them has
composed them before: each time takes some 0.15 s.
"""

from collections.abc import Sequence

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, run_and_report
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.options.composition import whole
from idn.cli.options.overrides import parsed

NAME = "launch"
"""Of the job, for Hydra: that of the module whose task it usually runs."""


class _Known(ConfigLoaderImpl):
    """A config loader that gives away one config which is there already, and composes all others."""

    def __init__(self, verb: str, options: list[str], config: DictConfig) -> None:
        super().__init__(create_config_search_path(str(conf_dir())))
        self._asked, self._known = (verb, options), [config]

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """See ConfigLoader."""
        if self._known and (config_name, overrides) == self._asked and run_mode == RunMode.RUN:
            return self._known.pop()
        return super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)


def run_once(verb: str, options: Sequence[str], folder: Sequence[str], task: TaskFunction) -> None:
    """Let Hydra run a task with the config of a verb and its options, which `check` has accepted.

    folder: further options, of Hydra's own, such as where the run writes.
    """
    config = whole(verb, options)
    config.hydra.job.name = NAME
    for option in folder:
        override = parsed(option)
        OmegaConf.update(config, override.key_or_group, override.value())
        config.hydra.overrides.hydra.append(option)
    version.setbase("1.3")
    everything = [*options, *folder]
    hydra = Hydra(NAME, _Known(verb, everything, config))
    GlobalHydra.instance().initialize(hydra)
    try:
        run_and_report(lambda: hydra.run(verb, task, everything))
    finally:
        GlobalHydra.instance().clear()
