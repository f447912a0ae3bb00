"""The entry point: which verb, and one sentence for what went wrong."""

import contextlib
import difflib
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

import idn
from idn.cli import export_verbs, training_verbs
from idn.cli.help import help_text
from idn.cli.instantiate import conf_dir, run_dir, wandb_offline
from idn.cli.option_errors import located, unwrapped
from idn.cli.overrides import check, check_dashes, combinations, overrides
from idn.cli.preflight import check_needs
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

HELP = ("-h", "--help")

SEVERAL = ("-m", "--multirun")

DESCRIPTIONS = ("config/*", "metrics/hparams.yaml")
"""Files that every run has from its first moment; where there are no others, nothing has been done."""

VERBS: dict[str, tuple[str, Callable[[DictConfig], Any]]] = {
    "train": ("teach a 0.5M-parameter student to swap faces, from a frozen teacher", training_verbs.train),
    "align": ("find the faces in a folder of photographs and crop them for training", training_verbs.align),
    "teachers": ("list the teachers, what file each needs, and examine one before training", training_verbs.teachers),
    "cache": ("ask a slow teacher once and keep its answers, to train from them without it", training_verbs.cache),
    "train-teacher": (
        "train a swapper of your own, on photographs or procedural faces, to teach students",
        training_verbs.train_teacher,
    ),
    "train-scorer": (
        "train a scorer of the teacher's pictures, which tells how far to trust each",
        training_verbs.train_scorer,
    ),
    "pipeline": ("run teacher, scorer, cache and student one after the other", training_verbs.pipeline),
    "train-encoder": (
        "train an identity encoder on procedural faces or on a folder per identity",
        training_verbs.train_encoder,
    ),
    "export": ("write a student in formats that run elsewhere, and prove each file", export_verbs.export),
    "bench": ("time every exported file, and PyTorch beside them", export_verbs.bench),
    "install-converter": ("set up a converter that needs other versions than the rest", export_verbs.install_converter),
    "import": ("read a published MobileFaceSwap or ArcFace checkpoint, without Paddle", training_verbs.import_student),
}


def usage() -> str:
    """What `idn --help` prints."""
    lines = [f"  {verb:<19}{line}" for verb, (line, _) in VERBS.items()]
    return "\n".join(
        [
            f"idn {idn.__version__}: trains face swappers that run on a phone.",
            "",
            "usage: idn <verb> [option=value ...]          options are Hydra overrides",
            "       idn <verb> [option=value ...] --help   what it is for, its options and their values",
            "       idn <verb> -m option=a,b ...           one run per combination",
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


def main() -> None:
    """Entry point of `idn` and `python -m idn`."""
    try:
        _obey(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"idn: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read what we print, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _obey(words: list[str]) -> None:
    """Do what was typed after `idn`. Raises UserError for what makes no sense."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print(usage())
        return
    if words[0] in ("-V", "--version"):
        print(f"idn {idn.__version__}")
        return
    verb = words[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(VERBS)}"
        raise UserError(f"there is no verb {verb!r}: {hint}")
    OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
    check_dashes(verb, words[1:])
    several = any(word in SEVERAL for word in words)
    options = overrides(verb, [word for word in words[1:] if word not in (*SEVERAL, *HELP)], several)
    if any(word in HELP for word in words):
        print(help_text(verb, options))
        return
    if not any(option.startswith("-") for option in options):
        runs = combinations(options) if several else [options]
        for run in runs:
            check(verb, run)
        for run in runs:
            check_needs(verb, run, several)
    _launch(verb, [*(["-m"] if several else []), *options])  # argparse wants flags before the overrides


def _launch(verb: str, words: list[str]) -> None:
    """Let Hydra run the task of a verb, as often as the words say."""
    keep_large_buffers()
    for noise in LIBRARY_NOISE:
        warnings.filterwarnings("ignore", message=noise)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    task = guarded(verb, VERBS[verb][1])
    sys.argv = [f"idn {verb}", *words]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
