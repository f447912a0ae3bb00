"""Beginning a sweep: what is checked, and prepared in its folder, before its first run."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from idn.cli.launch import explain
from idn.cli.options.composition import composed
from idn.cli.options.overrides import parsed
from idn.cli.sweeps.search import check_installed
from idn.cli.sweeps.sweep import Sweep
from idn.errors import OptionError
from idn.sweeps.outcomes import NOTES


def begun(verb: str, options: Sequence[str], first: Sequence[str]) -> Sweep:
    """The runs that a command asks for, none of which has begun.

    options: of all runs, with what is searched. first: those of the first run, with the folder of the sweep.
    Raises UserError for a metric that cannot be compared, and for a search without Optuna.
    """
    config, settings = composed(verb, first)
    check_installed(settings)
    if (metric := config.get("metric")) is not None:
        from idn.metrics.compared import maximised

        for key in metric if OmegaConf.is_list(metric) else [metric]:
            maximised(str(key))
    keep = config.get("keep_losers", True)
    if not isinstance(keep, bool):
        raise OptionError("keep_losers", keep, "must be true or false")
    folder = Path(str(settings.sweep.dir)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names = [option.partition("=")[0] for option in options if (read := parsed(option)) and read.is_sweep_override()]
    return Sweep(verb, names, folder / NOTES, explain, keep)
