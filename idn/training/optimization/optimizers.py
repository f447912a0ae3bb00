"""Optimizer parameter groups: their learning rates, which of them decay, and the schedule."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Build = Callable[..., Optimizer]
"""An optimizer that only lacks its parameter groups."""


def gradient_scaler(module: pl.LightningModule) -> Any | None:
    """What scales the gradients up under 16-mixed precision; None under any other, and outside a trainer."""
    try:
        return getattr(module.trainer.precision_plugin, "scaler", None)
    except RuntimeError:  # Lightning's answer where no trainer is attached
        return None


def unfused(build: Build, scaler: object | None) -> Build:
    """The same optimizer, not fused where 16-mixed precision scales the gradients: a fused one would unscale them
    within its step, after they have been clipped.

    scaler: of the gradients; None where nothing scales them.
    """

    def made(groups: Iterable[dict[str, Any]]) -> Optimizer:
        groups = list(groups)
        optimizer = build(groups)
        return build(groups, fused=False) if optimizer.defaults.get("fused") else optimizer

    return build if scaler is None else made


def rated(build: Build, groups: Mapping[str, list[nn.Parameter]], rates: Mapping[str, float]) -> Optimizer:
    """An optimizer with one group per name, which each keeps.

    rates: of learning, relative to the optimizer's; 1 where none is given.
    """
    optimizer = build([{"params": parameters, "name": name} for name, parameters in groups.items()])
    for name, group in zip(groups, optimizer.param_groups, strict=True):
        group["lr"] *= rates.get(name, 1.0)
    return optimizer


def decayed_kernels(build: Build, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """An optimizer that decays the weights of kernels alone: one-dimensional parameters, biases and norms, are left."""
    parameters = list(parameters)
    kernels = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    return build([{"params": kernels}, {"params": vectors, "weight_decay": 0.0}])


def stepwise(optimizer: Optimizer, schedule: Callable[[Optimizer], LRScheduler]) -> dict[str, Any]:
    """What `configure_optimizers` returns for one optimizer whose rate changes with every step."""
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}
