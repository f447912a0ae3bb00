"""The entry point: which verb, and one sentence for what went wrong."""

import difflib
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

import idn
from idn.cli import delivery, verbs
from idn.cli.building import conf_dir, run_dir, wandb_offline
from idn.cli.options import check, overrides, spoken
from idn.errors import UserError
from idn.folders import remove_unused
from idn.memory import keep_large_buffers

LIBRARY_NOISE = (
    r"The dirpath has changed from",  # a resumed run writes into a folder of its own
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen networks are meant to be
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of torch
    r"The '(train|val)_dataloader' does not have many workers",  # the default draws its data in the process
)
"""Warnings of the libraries that say nothing a user could act on."""

DESCRIPTIONS = ("config/*", "metrics/hparams.yaml")
"""Files that every run has from its first moment; where there are no others, nothing has been done."""

VERBS: dict[str, tuple[str, Callable[[DictConfig], Any]]] = {
    "train": ("teach a 0.5M-parameter student to swap faces, from a frozen teacher", verbs.train),
    "align": ("find the faces in a folder of photographs and crop them for training", verbs.align),
    "teachers": ("list the teachers, what file each needs, and examine one before training", verbs.teachers),
    "cache": ("ask a slow teacher once and keep its answers, to train from them without it", verbs.cache),
    "teacher": ("train a swapper of your own, on photographs or procedural faces, to teach students", verbs.teacher),
    "quality": ("train a scorer of the teacher's pictures, which tells how far to trust each", verbs.quality),
    "pipeline": ("run teacher, quality, cache and student one after the other", verbs.pipeline),
    "identity": ("train an identity encoder on procedural faces or on a folder per identity", verbs.identity),
    "export": ("write a student in formats that run elsewhere, and prove each file", delivery.export),
    "bench": ("time every exported file, and PyTorch beside them", delivery.bench),
    "converter": ("set up a converter that needs other versions than the rest", delivery.converter),
    "import": ("read a published MobileFaceSwap or ArcFace checkpoint, without Paddle", verbs.import_student),
}


def usage() -> str:
    """What `idn --help` prints."""
    lines = [f"  {verb:<10}{line}" for verb, (line, _) in VERBS.items()]
    return "\n".join(
        [
            f"idn {idn.__version__}: trains face swappers that run on a phone.",
            "",
            "usage: idn <verb> [option=value ...]      options are Hydra overrides",
            "       idn <verb> --help                  the options of a verb and its whole config",
            "       idn <verb> -m option=a,b ...       one run per combination",
            "",
            "verbs:",
            *lines,
            "",
            "start with: idn train",
        ]
    )


def explain(error: Exception) -> str | None:
    """One sentence for what a user can mend, None for what is a defect of the program."""
    if isinstance(error, UserError):
        return str(error).strip().rsplit("UserError: ", 1)[-1]  # a loader process wraps it in its own traceback
    if isinstance(error, MissingMandatoryValue):
        return f"an option has no value yet: {str(error).splitlines()[0]}; give it as option=value"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full: free some space and run again; what was already written is kept"
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return None


def guarded(verb: str, task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The task of a verb with its user errors printed as one sentence and turned into exit status 2.

    What fails before it wrote anything leaves no folder behind.
    """

    def run(cfg: DictConfig) -> Any:
        out = Path(str(OmegaConf.select(cfg, "out", throw_on_missing=False) or "."))
        ours = not out.exists()
        try:
            return task(cfg)
        except (UserError, MissingMandatoryValue, OSError) as error:
            sentence = explain(error)
            if sentence is None:
                raise
            print(f"idn: {spoken(verb, sentence)}", file=sys.stderr)
            if ours:
                remove_unused(out)
            if HydraConfig.initialized():
                remove_unused(run_dir(), DESCRIPTIONS)
            sys.exit(2)

    return run


def main() -> None:
    """Entry point of `idn` and `python -m idn`."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if words[0] in ("-V", "--version"):
        print(f"idn {idn.__version__}")
        return
    verb = words[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(VERBS)}"
        print(f"idn: there is no verb {verb!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    keep_large_buffers()
    for noise in LIBRARY_NOISE:
        warnings.filterwarnings("ignore", message=noise)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
    flags = [word for word in words[1:] if word in ("-m", "--multirun")]  # argparse wants them before the overrides
    options = overrides(verb, [word for word in words[1:] if word not in flags], several=bool(flags))
    if not flags and not any(option.startswith("-") for option in options):
        try:
            check(verb, options)
        except UserError as error:
            print(f"idn: {error}", file=sys.stderr)
            sys.exit(2)
    sys.argv = [f"idn {verb}", *flags, *options]
    launch = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)
    try:
        launch(guarded(verb, VERBS[verb][1]))()
    except BrokenPipeError:  # whoever read what we print, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
