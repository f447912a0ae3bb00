"""From checked options to a run of Hydra's, and one sentence for what went wrong in it."""

import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

from idn.cli.config_tree import conf_dir
from idn.cli.instantiate import run_dir
from idn.cli.option_errors import located, unwrapped
from idn.cli.verbs import VERBS
from idn.errors import UserError
from idn.files.folders import remove_unused
from idn.hardware import keep_large_buffers

LIBRARY_NOISE = (
    r"The dirpath has changed from",  # a resumed run writes into a folder of its own
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen networks are meant to be
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of torch
    r"The '(train|val)_dataloader' does not have many workers",  # the default draws its data in the process
)
"""Warnings of the libraries that say nothing a user could act on."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""What PyTorch says of a GPU, and of the machine, without any left."""

DESCRIPTIONS = ("config/*", "metrics/hparams.yaml")
"""Files that every run has from its first moment; where there are no others, nothing has been done."""


def explain(error: Exception) -> str | None:
    """One sentence for what a user can mend, None for what is a defect of the program."""
    error = unwrapped(error)
    if isinstance(error, UserError):
        return str(error).strip()
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError):
        name = re.search(r"[Mm]issing mandatory value: (\S+)|full_key: (\S+)", str(error))
        option = next(filter(None, name.groups())).rstrip(".") if name else "an option"
        return f"{option} has no value yet: give it as {option if name else 'name'}=VALUE"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full: free some space and run again; what was already written is kept"
    if isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY):
        return "the memory is full: take a smaller data.batch or data.size, or trainer.precision=bf16-mixed on a GPU"
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return None


def is_helper() -> bool:
    """Whether the trainer of another process started this one, to train on another device for the same run."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def guarded(verb: str, task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The task of a verb with its user errors printed as one sentence and turned into exit status 2.

    What fails before it wrote anything leaves no folder behind. Meanwhile `sys.argv` is what was typed: a trainer with
    several devices starts its other processes with it. Those say nothing but why they fail, and remove nothing.
    """
    typed = list(sys.argv)

    def run(cfg: DictConfig) -> Any:
        sys.argv = typed
        out = Path(str(OmegaConf.select(cfg, "out", throw_on_missing=False) or "."))
        ours = not out.exists()
        try:
            with contextlib.redirect_stderr(Path(os.devnull).open("w")) if is_helper() else contextlib.nullcontext():
                return task(cfg)
        except (UserError, MissingMandatoryValue, InterpolationToMissingValueError, OSError, RuntimeError) as error:
            sentence = explain(located(unwrapped(error), cfg))
            if sentence is None:
                raise
            print(f"idn: {sentence}", file=sys.stderr)
            if ours and not is_helper():
                remove_unused(out)
            if HydraConfig.initialized() and not is_helper():
                remove_unused(run_dir(), DESCRIPTIONS)
            sys.exit(2)

    return run


def launch(verb: str, words: list[str]) -> None:
    """Let Hydra run the task of a verb, as often as the words say."""
    keep_large_buffers()
    for noise in LIBRARY_NOISE:
        warnings.filterwarnings("ignore", message=noise)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    task = guarded(verb, VERBS[verb].task())
    sys.argv = [f"idn {verb}", *words]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
