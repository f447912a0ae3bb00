"""The folder of a run or of a sweep: a new one for each, however many are started in the same second."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from idn.cli.options.composition import composed
from idn.errors import OptionError
from idn.hardware import is_helper


def claimed(verb: str, options: Sequence[str], several: bool) -> list[str]:
    """An option that names the folder of a run, which is made here and is nobody else's.

    options: which make a config; of a sweep, those of its first run. several: whether it is a sweep, whose folder is
    always named. Nothing where the user named the folder of a run, unless by `~` or in a variable, and for a verb that
    leaves none. Raises OSError if it cannot be made, OptionError if a file lies where it should be.
    """
    config, settings = composed(verb, options)
    if not several and not timed(settings, several):
        _check_no_file(config, settings)
    if settings.output_subdir is None and not several:
        return []
    where = "sweep" if several else "run"
    pattern = str(settings[where]._get_node("dir")._value())
    if not several and not timed(settings, several) and "~" not in pattern and "${oc.env" not in pattern:
        return []
    if is_helper():  # the first process of the run has its folder
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return [f'hydra.run.dir="{folder}"', "hydra.output_subdir=null"]
    wanted = Path(str(OmegaConf.merge(config, {"hydra": settings, "folder": pattern}).folder)).expanduser()
    return [f'hydra.{where}.dir="{_made(wanted) if timed(settings, several) else wanted}"']


def _check_no_file(config: DictConfig, settings: DictConfig) -> None:
    """Raise OptionError if a file lies where the folder that the user named should be, or one around it."""
    pattern = str(settings.run._get_node("dir")._value())
    folder = Path(str(OmegaConf.merge(config, {"hydra": settings, "folder": pattern}).folder)).expanduser()
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.is_file():
        option = "out" if pattern == "${out}" else "hydra.run.dir"
        raise OptionError(option, folder, f"cannot be a folder, because {there} is a file: give another one")


def timed(settings: DictConfig, several: bool) -> bool:
    """Whether the name of the folder tells the time, so that a new one is made. settings: Hydra's own."""
    return "${now:" in str(settings["sweep" if several else "run"]._get_node("dir")._value())


def _made(wanted: Path) -> Path:
    """The folder `wanted`, or the first with a number behind it, that was not there before."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # of a run that began in the same second
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
