"""From checked options to a run of Hydra's, and one sentence for what went wrong in it."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from idn.cli.config_tree import conf_dir
from idn.cli.instantiate import register_resolvers, run_dir
from idn.cli.options.composition import composed, write_paths
from idn.cli.options.errors import located, unwrapped
from idn.cli.output import drop_output, unread
from idn.cli.single_run import run_once
from idn.cli.sweeps.sweep import Sweep
from idn.cli.verbs.table import VERBS
from idn.errors import UserError
from idn.files.folders import remove_unused
from idn.files.refused_disk import is_full
from idn.files.run_folder import DIFF, RECORD
from idn.hardware import is_helper, keep_large_buffers

LIBRARY_NOISE = (
    r"The dirpath has changed from",  # a resumed run writes into a folder of its own
    r"Checkpoint directory .* exists and is not empty",  # or into that of before
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen networks are meant to be
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of torch
    r"The '(train|val)_dataloader' does not have many workers",  # the default draws its data in the process
)
"""Warnings of the libraries that say nothing a user could act on."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""What PyTorch says of a GPU, and of the machine, without any left."""

DESCRIPTIONS = ("config/*", "metrics/hparams.yaml", RECORD, DIFF)
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
    if isinstance(error, OmegaConfBaseException):
        return _of_config(error)
    if is_full(error):
        return "the disk is full: free some space and run again; what was already written is kept"
    if isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY):
        return "the memory is full: take a smaller data.batch or data.size, or trainer.precision=bf16-mixed on a GPU"
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return None


def _of_config(error: OmegaConfBaseException) -> str:
    """What a value of a config is wrong about, such as a variable of the environment that is not set."""
    said = str(error.msg or error).splitlines()[0].removesuffix("'").rstrip(".")
    return f"{error.full_key}: {said}" if error.full_key else said


def guarded(task: Callable[[DictConfig], Any], sweep: Sweep | None = None) -> Callable[[DictConfig], Any]:
    """The task of a verb with its user errors printed as one sentence and turned into exit status 2.

    sweep: that it is a part of, which collects them instead.
    What fails before it wrote anything leaves no folder behind. Meanwhile `sys.argv` is what was typed: a trainer with
    several devices starts its other processes with it. Those say nothing but why they fail, and remove nothing.
    """
    typed = list(sys.argv)

    def run(cfg: DictConfig) -> Any:
        sys.argv = typed
        register_resolvers()  # once more, for a launcher that works in other processes
        for noise in LIBRARY_NOISE:
            warnings.filterwarnings("ignore", message=noise)
        write_paths(cfg)
        if sweep is not None:
            return sweep.tried(lambda: _named(task, cfg))
        out = Path(str(OmegaConf.select(cfg, "out", throw_on_missing=False) or "."))
        ours = not out.exists()
        try:
            return _named(task, cfg)
        except Exception as error:  # of any kind, such as a library's own for a full disk
            if isinstance(error, BrokenPipeError) and unread():
                drop_output()
                sys.exit(0)
            sentence = explain(error)
            if sentence is None:
                raise
            print(f"idn: {sentence}", file=sys.stderr)
            if ours and not is_helper():
                remove_unused(out)
            if HydraConfig.initialized() and not is_helper():
                remove_unused(run_dir(), DESCRIPTIONS)
            sys.exit(2)

    return run


def _named(task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """The result of a task. An error about an argument comes out with the name of the option that gave it."""
    try:
        with contextlib.redirect_stderr(Path(os.devnull).open("w")) if is_helper() else contextlib.nullcontext():
            return task(cfg)
    except Exception as error:  # any may be that of a loader process, which PyTorch has made another one
        known = located(unwrapped(error), cfg)
        if known is error:
            raise
        raise known from error


def launch(
    verb: str, flags: Sequence[str], options: Sequence[str], folder: Sequence[str], sweep: Sweep | None = None
) -> None:
    """Let Hydra run the task of a verb, as often as the words say. Raises UserError if a run of a sweep failed.

    flags: what Hydra is to do else than one run. folder: an option that names the folder, if none of the others does.
    sweep: the runs that the words ask for, if they ask for several.
    """
    keep_large_buffers()
    for teller in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"pytorch_lightning.{teller}").setLevel(logging.WARNING)
    sys.argv = [f"idn {verb}", *flags, *options, *folder]  # argparse wants flags before the overrides
    task = guarded(VERBS[verb].task(), sweep)
    if not flags and composed(verb, options)[1].mode != RunMode.MULTIRUN:
        run_once(verb, options, folder, task)
        return
    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)
    start(task)()
    if sweep is not None:
        sweep.finish()
