"""The command line: `idn <verb> [hydra overrides]`. The only file that knows Hydra and calls instantiate()."""

import difflib
import errno
import logging
import netrc
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

import idn
from idn.errors import UserError
from idn.memory import keep_large_buffers

EXTRAS = ("wandb", "tensorboard", "onnx")
"""Optional modules; each is brought by the extra of its name."""

LIBRARY_NOISE = (
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen networks are meant to be
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of torch
    r"The '(train|val)_dataloader' does not have many workers",  # the default draws its data in the process
)
"""Warnings of the libraries that say nothing a user could act on."""


def conf_dir() -> Path:
    """The config tree: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "conf"


def build(node: DictConfig, *args: Any, **kwargs: Any) -> Any:
    """Instantiate a config node with plain Python lists and dicts; a UserError inside comes out as it was."""
    try:
        return instantiate(node, *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UserError | OSError | MissingMandatoryValue):
                raise cause from None
            if isinstance(cause, ModuleNotFoundError):
                for extra in (name for name in EXTRAS if name in f"{cause.name} {cause}"):
                    raise UserError(f"this option needs `pip install 'idn-distill[{extra}]'`") from None
            if type(cause).__name__ == "MisconfigurationException":
                raise UserError(f"the trainer cannot work like this: {str(cause).splitlines()[0]}") from None
            cause = cause.__cause__
        raise


def wandb_offline() -> bool:
    """Whether W&B should only write to disk: true unless the user has logged in on this machine."""
    if os.environ.get("WANDB_API_KEY"):
        return False
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is None
    except (OSError, netrc.NetrcParseError):
        return True


def run_dir() -> Path:
    """The folder that Hydra made for this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def build_trainer(cfg: DictConfig) -> Any:
    """The trainer with its callbacks and loggers, which learn the whole config."""
    loggers = list(build(cfg.logger).values())
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    return build(cfg.trainer, callbacks=list(build(cfg.callbacks).values()), logger=loggers)


def assemble(cfg: DictConfig) -> tuple[Any, Any]:
    """The distillation module and the data that a composed train config describes."""
    data = build(cfg.data)
    encoder = build(cfg.identity)
    sizes = {name: getattr(encoder, name) for name in ("embedding_dim", "feature_channels", "feature_size")}
    module = build(
        cfg.distill,
        student=build(cfg.student)(**sizes),
        teacher=build(cfg.teacher),
        encoder=encoder,
        perceptual=build(cfg.perceptual),
        trust=build(cfg.reweight),
        objective=build(cfg.loss),
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
    )
    return module, data


def train(cfg: DictConfig) -> float:
    """Distil a student from a frozen teacher. Returns the metric that sweeps optimise."""
    import pytorch_lightning as pl

    from idn.run import fit

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module, data = assemble(cfg)
    options = HydraConfig.get().overrides.task
    return fit(build_trainer(cfg), module, data, out=run_dir(), resume=cfg.resume, metric=cfg.metric, options=options)


def identity(cfg: DictConfig) -> float:
    """Train an identity encoder. Returns its verification accuracy."""
    import pytorch_lightning as pl

    from idn.run import fit_recogniser

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build(cfg.identity_data)
    module = build(
        cfg.recognition,
        network=build(cfg.network),
        classes=data.classes,
        people=data.people,
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
    )
    command = " ".join(["idn identity", *HydraConfig.get().overrides.task])
    return fit_recogniser(
        build_trainer(cfg), module, data, out=run_dir(), resume=cfg.resume, licence=cfg.licence, command=command
    )


def align(cfg: DictConfig) -> None:
    """Find, frame and crop the faces of a folder of photographs; say what was left out."""
    if not Path(cfg.src).is_dir():
        raise UserError(f"src={cfg.src} is not a folder: give the folder of your photographs")
    build(cfg.align)
    print(f"next: idn train data=faces data.root={cfg.dst} identity=mobilefacenet identity.weights=FILE teacher=blend")


def import_student(cfg: DictConfig) -> None:
    """Turn a published checkpoint into a student or encoder file of this project."""
    print(build(cfg.importer))


VERBS: dict[str, tuple[str, Callable[[DictConfig], Any]]] = {
    "train": ("teach a 0.5M-parameter student to swap faces, from a frozen teacher", train),
    "align": ("find the faces in a folder of photographs and crop them for training", align),
    "identity": ("train an identity encoder on procedural faces or on a folder per identity", identity),
    "import": ("read a published MobileFaceSwap or ArcFace checkpoint, without Paddle", import_student),
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
        return str(error)
    if isinstance(error, MissingMandatoryValue):
        return f"an option has no value yet: {str(error).splitlines()[0]}; give it as option=value"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full: free some space and run again; what was already written is kept"
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return None


def guarded(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The task with its user errors printed as one sentence and turned into exit status 2."""

    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except (UserError, MissingMandatoryValue, OSError) as error:
            sentence = explain(error)
            if sentence is None:
                raise
            print(f"idn: {sentence}", file=sys.stderr)
            sys.exit(2)

    return run


def check_options(verb: str, options: list[str]) -> None:
    """Print one sentence and exit with status 2 if the options do not make a config."""
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            compose(verb, options)
    except HydraException as error:
        said = " ".join(str(error).split("\n\n")[0].splitlines()[:2])
        said = said.split(" To append to your config")[0].split("\nConfig search path")[0]
        print(f"idn: {said}: see idn {verb} --help", file=sys.stderr)
        sys.exit(2)


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
    if not any(word.startswith("-") for word in words[1:]):
        check_options(verb, words[1:])
    sys.argv = [f"idn {verb}", *flags, *(word for word in words[1:] if word not in flags)]
    launch = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)
    launch(guarded(VERBS[verb][1]))()
