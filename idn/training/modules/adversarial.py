"""Adversarial training (GAN, hinge loss): the discriminator's part, and one step of two networks at once."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from idn.errors import OptionError
from idn.files.option_checks import require_one_of
from idn.losses.adversarial import HingeDiscriminator, Scales
from idn.training.multi_process import check_single
from idn.types import SwapBatch, Verdict

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
Real = Literal["target", "source", "photograph"]
"""Which picture of a pair the discriminator is shown as a photograph; "photograph": the one that the data say is one,
which matters where targets were edited, and the target where they say nothing."""


class Verdicts(NamedTuple):
    """What a discriminator says of the pictures of a batch."""

    real: Verdict | None
    """Of those that it is shown as photographs, with gradient; None without a discriminator."""
    target: Verdict
    """Of the targets, where a loss term compares with it."""


class Adversary(nn.Module):
    """A discriminator and what it minimises, the hinge.

    discriminator: pictures (N, 3, S, S) in [0, 1] -> Verdict; one that `reads_scales` also takes the same pictures at
        smaller sizes.
    real: "target", "source" or "photograph", which picture of a pair it is shown as a photograph.
    scales: "mean", "sum" or one factor per scale, what becomes of its losses at several scales.

    Raises OptionError for another real or scales.
    """

    def __init__(self, discriminator: nn.Module, real: Real = "target", scales: Scales = "mean") -> None:
        super().__init__()
        require_one_of("real", real, get_args(Real))
        self.discriminator, self.real = discriminator, real
        self.hinge = HingeDiscriminator(scales)

    def judge(self, pictures: Tensor, smaller: Sequence[Tensor] = ()) -> Verdict:
        """pictures: (N, 3, S, S) in [0, 1]. smaller: the same at smaller sizes, from large to small, where made."""
        if getattr(self.discriminator, "reads_scales", False):
            return self.discriminator(pictures, smaller)
        return self.discriminator(pictures)

    def _real(self, batch: SwapBatch) -> Tensor:
        """(N, 3, S, S): what it is shown as photographs."""
        if self.real == "photograph" and batch.source_is_photograph is not None:
            return torch.where(batch.source_is_photograph[:, None, None, None], batch.source, batch.target)
        return batch.source if self.real == "source" else batch.target

    def look(self, batch: SwapBatch, match_target: bool) -> Verdicts:
        """Judge the pictures of the data. match_target: whether the verdict on the targets is wanted, too.

        The swaps are judged before: autocast may keep what it cast at the first look, and a network that learns must
        look with gradient first.
        """
        shown = self._real(batch)
        real = self.judge(shown)
        if not match_target:
            return Verdicts(real, Verdict())
        if shown is batch.target:
            return Verdicts(real, real)
        with torch.no_grad():
            return Verdicts(real, self.judge(batch.target))


class Player(NamedTuple):
    """One of two networks that train each other."""

    name: str
    """What it is called in a sentence."""
    loss: Tensor
    """What it minimises, a scalar."""
    parameters: Sequence[nn.Parameter]
    """What it may change."""


def differentiate(
    module: pl.LightningModule, players: Sequence[Player], clip: float | None, scale: float = 1.0
) -> list[Tensor]:
    """Give every network the gradient of its own loss alone, clipped. Returns the norms before clipping.

    clip: largest norm, None for no limit.
    scale: that by which Lightning multiplies what it differentiates. The gradients keep it, the norms do not.
    """
    for player in players:
        for parameter in player.parameters:
            parameter.grad = None
    for player in players:
        module.manual_backward(player.loss, inputs=player.parameters, retain_graph=player is not players[-1])
    limit = math.inf if clip is None else clip * scale
    return [nn.utils.clip_grad_norm_(player.parameters, limit) / scale for player in players]


def update(module: pl.LightningModule, scaler: GradScaler | None) -> None:
    """One step of both optimizers of a module, first the network's, then the discriminator's, and of their schedules.

    Lightning counts the steps of its own optimizer objects, and that count is the position in the data: so the
    discriminator's optimizer is stepped behind its back, and one batch counts once. It goes first, because Lightning's
    step also updates the scale of both. Learning rates wait when a gradient has overflowed.
    """
    network, discriminator = module.optimizers()
    scale = 1.0 if scaler is None else scaler.get_scale()
    if scaler is None:
        discriminator.optimizer.step()
    else:
        scaler.step(discriminator.optimizer)
    network.step()
    if scaler is None or scaler.get_scale() >= scale:
        for schedule in module.lr_schedulers():
            schedule.step()


def check_trainer(trainer: pl.Trainer) -> None:
    """Raise OptionError for arguments of the trainer that do not fit two networks which train each other."""
    if trainer.precision not in PRECISIONS:
        fitting = f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
        wanted = f"does not fit training with a discriminator: take {fitting}"
        raise OptionError("precision", trainer.precision, wanted, trainer)
    reason = "the gradients of two networks are not shared between processes"
    check_single(trainer, "beside a discriminator", reason)
    if (batches := trainer.accumulate_grad_batches) != 1:
        wanted = "must be 1 beside a discriminator: take larger batches instead"
        raise OptionError("accumulate_grad_batches", batches, wanted, trainer)
