"""Verb about runs: `idn rerun`."""

import os
import shlex
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from idn.errors import OptionError


def rerun(cfg: DictConfig) -> None:
    """Say what is not as it was, and become the command that made the run."""
    from idn.training.record import changes, read_record

    folder = only_folder(cfg)
    record = read_record(folder)
    for sentence in changes(record):
        print(f"the run may end elsewhere: {sentence}", file=sys.stderr)
    words = [word for word in record["command"] if not _goes_on_there(word, folder)]
    print(shlex.join(["idn", *words]))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "idn", *words])


def only_folder(cfg: DictConfig) -> Path:
    """The one folder that a verb was given. Raises OptionError for several."""
    given = list(cfg.folder) if OmegaConf.is_list(cfg.folder) else [cfg.folder]
    if len(given) != 1:
        raise OptionError("folder", " ".join(map(str, given)), "names several: give one")
    return Path(str(given[0]))


def _goes_on_there(word: str, folder: Path) -> bool:
    """Whether an option goes on with a state of the run itself, which is to begin anew."""
    name, _, value = word.partition("=")
    return name == "resume" and folder.resolve() in Path(value.strip("'\"")).resolve().parents
