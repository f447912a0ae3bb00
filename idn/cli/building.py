"""From a composed config to objects: the only place that calls instantiate()."""

import netrc
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from idn.errors import UserError

EXTRAS = ("wandb", "tensorboard", "onnx")
"""Optional modules; each is brought by the extra of its name."""


def conf_dir() -> Path:
    """The config tree: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


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


def assemble_frozen(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """The data, the identity encoder and the teacher, introduced to each other."""
    data = build(cfg.data)
    encoder = build(cfg.identity)
    teacher = build(cfg.teacher)
    teacher.share(encoder)
    data.train = teacher.bind(data.train, "train")
    data.val = teacher.bind(data.val, "val", data.val_items)
    return data, encoder, teacher


def assemble(cfg: DictConfig) -> tuple[Any, Any]:
    """The distillation module and the data that a composed train config describes."""
    data, encoder, teacher = assemble_frozen(cfg)
    sizes = {name: getattr(encoder, name) for name in ("embedding_dim", "feature_channels", "feature_size")}
    module = build(
        cfg.distill,
        student=build(cfg.student)(**sizes),
        teacher=teacher,
        encoder=encoder,
        perceptual=build(cfg.perceptual),
        trust=build(cfg.reweight),
        objective=build(cfg.loss),
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
    )
    return module, data
