"""From a composed config to objects: the only place that calls instantiate()."""

import netrc
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

from idn.cli.options.errors import located, placed
from idn.cli.run_names import run_name, run_tags, sweep_name
from idn.errors import MissingExtra, OptionError, UserError

EXTRAS = ("wandb", "tensorboard", "mlflow", "onnx")
"""Optional modules; each is brought by the extra of its name."""

PHOTOGRAPHS = "idn.data.photo_pairs.faces_data"
"""What makes data of photographs; of any others `check_acquainted` asks when they are there."""


def build(node: DictConfig, *args: Any, **kwargs: Any) -> Any:
    """Instantiate a config node with plain Python lists and dicts.

    An OptionError inside names the option instead of the argument, also when what is made is a partial and called
    later. A UserError comes out as it was, and so does what `explain` knows; another refusal of a value becomes one.
    """
    try:
        made = instantiate(node, *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        _explain(error, error.__cause__, node)
        raise
    if not isinstance(made, partial):
        return made
    if made.func.__module__.startswith("torch.optim"):
        _try_optimizer(made, node._get_full_key(None))
    return _Later(made, node)


class _Later(partial):
    """A partial made from a part of a config: an OptionError when it is called names the option."""

    def __new__(cls, made: partial, node: DictConfig) -> "_Later":
        later = super().__new__(cls, made.func, *made.args, **made.keywords)
        later.node = node
        return later

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except OptionError as error:
            raise placed(error, self.node, self.node._get_full_key(None)) from None


def _explain(error: InstantiationException, cause: BaseException | None, node: DictConfig) -> None:
    """Raise what the cause of a failed instantiation means to a user, if it is one that they can mend."""
    where = re.search(r"full_key: (\S+)", str(error))
    while cause is not None:
        if isinstance(cause, OptionError) and cause.owner is not None:  # of a part that was built before
            raise located(cause, node._get_root()) from None
        if isinstance(cause, OptionError) and where:
            raise placed(cause, node, where[1]) from None
        if isinstance(cause, UserError | OSError | MissingMandatoryValue | InterpolationToMissingValueError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError):
            for extra in (name for name in EXTRAS if name in f"{cause.name} {cause}"):
                raise MissingExtra("this option needs", extra) from None
            if where and str(cause).startswith("Requirement "):  # a package of its own that Lightning asks for
                raise _refused(where[1], cause) from None
        if type(cause).__name__ == "MisconfigurationException":
            said = str(cause).splitlines()[0].rstrip(".!")
            absent = any(word in said for word in ("backend found", "can not run", "not available"))
            advice = ": trainer.accelerator=auto takes what this machine has" if absent else ""
            raise UserError(f"the trainer cannot work like this: {said}{advice}") from None
        if isinstance(cause, ValueError | TypeError) and where:
            raise _refused(where[1], cause) from cause
        cause = cause.__cause__


def _refused(what: str, error: Exception) -> UserError:
    return UserError(f"{what} cannot be made from these options: {str(error).splitlines()[0]}")


def _try_optimizer(made: Any, what: str) -> None:
    """Raise UserError if an optimizer that still waits for its parameters will refuse its options."""
    import torch

    try:
        made([torch.nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError, IndexError) as error:
        raise _refused(what, error) from error


def wandb_offline() -> bool:
    """Whether W&B should only write to disk: true unless the user has logged in on this machine."""
    if os.environ.get("WANDB_API_KEY"):
        return False
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is None
    except (OSError, netrc.NetrcParseError):
        return True


def earlier_run(resume: str | None, key: str) -> Any:
    """What the checkpoint to go on from says under a key; None without one, or where it cannot be read."""
    if resume is None:
        return None
    from idn.training.resume import read_checkpoint

    try:
        return read_checkpoint(Path(str(resume))).get(key)
    except UserError:
        return None


def register_resolvers() -> None:
    """What configs may ask for as ${name:...}."""
    OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
    OmegaConf.register_new_resolver("earlier_run", earlier_run, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("run_tags", run_tags, replace=True)


def run_dir() -> Path:
    """The folder that Hydra made for this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def build_pairs(cfg: DictConfig) -> tuple[Any, Any]:
    """The data of pairs and the identity encoder, which knows such faces.

    Raises UserError for an encoder of drawn faces with photographs, before these are looked through.
    """
    encoder = build_acquainted(cfg)
    return build(cfg.data), encoder


def build_acquainted(cfg: DictConfig) -> Any:
    """The identity encoder of a config. Raises UserError if its data are photographs and it knows drawn faces only."""
    encoder = build(cfg.encoder)
    photographs = cfg.data.get("_target_") == PHOTOGRAPHS and Path(str(cfg.data.root)).is_dir()
    if photographs and getattr(encoder, "drawn_only", False):
        choice = HydraConfig.get().runtime.choices.get("encoder")
        raise UserError(
            f"encoder={choice} knows drawn faces only: add encoder=mobilefacenet encoder.weights=FILE, or another "
            "encoder of real people; encoder.photographs=true takes it all the same"
        )
    return encoder


def assemble_frozen(cfg: DictConfig) -> tuple[Any, Any, Any, Any]:
    """The data, the identity encoder, the teacher and the trust in it, introduced to each other."""
    from idn.training.build import introduce

    data, encoder = build_pairs(cfg)
    teacher, trust = build(cfg.teacher), build(cfg.reweight)
    return introduce(data, encoder, teacher, trust), encoder, teacher, trust
