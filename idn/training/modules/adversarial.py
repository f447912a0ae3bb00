"""Training of swappers that have no teacher: against a discriminator, a recogniser and themselves."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import idn
from idn.errors import UserError
from idn.losses.adversarial import AttributePreservation, HingeDiscriminator, Scales, WeakFeatureMatching
from idn.losses.objective import Objective
from idn.metrics.images import identity_cosine, psnr
from idn.training.checkpoints import leave_out, refill
from idn.training.modules.finite_guard import Before
from idn.training.modules.validation import log_means, log_truth
from idn.training.multi_process import check_single
from idn.training.optimization.ema import MovingAverage
from idn.training.optimization.optimizers import Build, check_rates, rated
from idn.types import SwapAttempt, SwapBatch, SwapReference, Verdict

FROZEN = ("encoder.", "discriminator.backbone.")
"""Prefixes of what is never written into a checkpoint."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ADVICE = "lower optim.lr, or check the data"
Real = Literal["target", "source"]
"""Which picture of a pair the discriminator is shown as a photograph."""


class SwapperModule(pl.LightningModule):
    """Trains `swapper` as SimSwap (arXiv:2106.06340) and FaceShifter (arXiv:1912.13457) were trained, and validates its
    moving average.

    swapper: `swapper.swap(target, embedding)` returns pictures and the attribute maps of the target,
    `swapper.attributes(images)` those of any pictures, both as in teachers.trainable. discriminator: pictures to
    Verdict. encoder: frozen identity encoder; it is not saved and does not change. objective: what the swapper
    minimises; the discriminator minimises the hinge.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer; made once for each of the
    two networks. size, template: pixels and alignment template of the crops. licence: of the weights that come out.
    ema_decay: of the moving average. rates: learning rates of the swapper's parameter groups and of the
    "discriminator", relative to that of the optimizer; 1 where none is given. clip: largest norm of either network's
    gradient, None for no limit. real: "target" or "source", which of a pair the discriminator takes for a photograph.
    scales: "mean" or "sum", what becomes of its losses at several scales.
    Raises UserError if the swapper cannot work at that size, for rates of groups that it does not have, and for another
    real or scales.
    """

    def __init__(
        self,
        swapper: nn.Module,
        discriminator: nn.Module,
        encoder: nn.Module,
        objective: Objective,
        optimizer: Build,
        schedule: Callable[[Optimizer], LRScheduler],
        size: int,
        template: str,
        licence: str,
        ema_decay: float = 0.999,
        rates: Mapping[str, float] | None = None,
        clip: float | None = None,
        real: Real = "target",
        scales: Scales = "mean",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        swapper.check_size(size)
        if real not in get_args(Real):
            raise UserError(f"teacher_training.real={real} is unknown: choose {' or '.join(get_args(Real))}")
        self.swapper = swapper.to(memory_format=torch.channels_last)
        self.discriminator, self.encoder = discriminator, encoder
        self.ema = MovingAverage(swapper, ema_decay)
        self.objective, self.hinge = objective, HingeDiscriminator(scales)
        self.optimizer, self.schedule = optimizer, schedule
        self.size, self.template, self.licence = size, template, licence
        self.rates, self.clip, self.real = dict(rates or {}), clip, real
        check_rates("teacher_training.rates", self.rates, [*swapper.parameter_groups(), "discriminator"], "there are")

    def attempt(self, batch: SwapBatch, swapper: nn.Module) -> tuple[SwapAttempt, SwapReference, Verdict]:
        """Swap, and look at the pictures with every network that has a say.

        Returns the swap, what it is compared with, and the verdict on the real pictures. Gradients reach swapper and
        discriminator; nothing that describes the source carries one. A network that learns looks with gradient before
        it looks without: autocast may keep what it cast at the first look, and that would have no gradient then.
        """
        target = batch.target
        with torch.no_grad():
            source = self.encoder(batch.source).embedding.float()
        image, wanted = swapper.swap(target, source)
        kept = swapper.attributes(image) if self._has(AttributePreservation) else ()
        seen = self.encoder(image).embedding.float()
        attempt = SwapAttempt(image, seen, self.discriminator(image), kept)
        real = self.discriminator(target if self.real == "target" else batch.source)
        of_target = real if self.real == "target" else self._verdict_on(target)
        return attempt, SwapReference(target, source, batch.same, of_target, wanted), real

    @torch.no_grad()
    def _verdict_on(self, target: Tensor) -> Verdict:
        """What the swap's features are compared with; nothing where no term does."""
        return self.discriminator(target) if self._has(WeakFeatureMatching) else Verdict((), ())

    def _has(self, kind: type[nn.Module]) -> bool:
        return any(isinstance(term, kind) for term in self.objective.terms.values())

    def _step(self, batch: SwapBatch, swapper: nn.Module, stage: str) -> tuple[Tensor, Tensor, SwapAttempt]:
        """The one path from a batch to the losses of swapper and discriminator, for training and validation alike."""
        attempt, reference, real = self.attempt(batch, swapper)
        trust = batch.target.new_ones(len(batch.target))  # there is no teacher to be doubted
        total, parts = self.objective(attempt, reference, trust, self.global_step)
        judged = self.hinge(real, attempt.verdict).mean()
        logged = {f"{stage}/loss": total.detach(), f"{stage}/loss_discriminator": judged.detach()}
        logged |= {f"{stage}/loss_{name}": value for name, value in parts.items()}
        logged[f"{stage}/identity_swap"] = identity_cosine(attempt.embedding, reference.embedding).detach().mean()
        self.log_dict(logged, batch_size=len(batch.target), sync_dist=stage == "val")
        return total, judged, attempt

    def training_step(self, batch: SwapBatch, batch_idx: int) -> None:
        """One batch: both losses from one look, then one step of either network.

        Raises UserError as soon as a loss or a gradient is not a finite number, with both networks as they were before
        the batch: parameters have not been touched yet, and what the look did to buffers is undone. Gradients that
        overflow because 16-mixed precision scales them up are no reason to stop: that step is left out.
        """
        before = Before((self.swapper, self.discriminator))
        total, judged, _ = self._step(batch, self.swapper, "train")
        before.demand("loss", total.detach(), self.global_step, ADVICE)
        before.demand("loss of the discriminator", judged.detach(), self.global_step, ADVICE)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.get_scale()
        norms = self._differentiate(total, judged, scale)
        if scale <= 1:
            for name, norm in zip(("swapper", "discriminator"), norms, strict=True):
                before.demand(f"gradient of the {name}", norm, self.global_step, ADVICE)
        self._update(scaler)

    def _differentiate(self, total: Tensor, judged: Tensor, scale: float = 1.0) -> list[Tensor]:
        """Give either network the gradient of its own loss alone, clipped. Returns the norms before clipping.

        scale: that by which Lightning multiplies what it differentiates. The gradients keep it, the norms do not.
        """
        ours, theirs = self._learning()
        for parameter in (*ours, *theirs):
            parameter.grad = None
        self.manual_backward(total, inputs=ours, retain_graph=True)
        self.manual_backward(judged, inputs=theirs)
        limit = math.inf if self.clip is None else self.clip * scale
        return [nn.utils.clip_grad_norm_(parameters, limit) / scale for parameters in (ours, theirs)]

    def _update(self, scaler: GradScaler | None) -> None:
        """One step of both networks, of their learning rates and of the average.

        Lightning counts the steps of its own optimizer objects, and that count is the position in the data: so the
        discriminator's optimizer is stepped behind its back, and one batch counts once. It goes first, because
        Lightning's step also updates the scale of both. Learning rates wait when a gradient has overflowed.
        """
        swapper, discriminator = self.optimizers()
        scale = 1.0 if scaler is None else scaler.get_scale()
        if scaler is None:
            discriminator.optimizer.step()
        else:
            scaler.step(discriminator.optimizer)
        swapper.step()
        if scaler is None or scaler.get_scale() >= scale:
            for schedule in self.lr_schedulers():
                schedule.step()
        self.ema.update(self.swapper)

    def _learning(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        return tuple(
            [p for p in network.parameters() if p.requires_grad] for network in (self.swapper, self.discriminator)
        )

    def validation_step(self, batch: SwapBatch, batch_idx: int) -> dict[str, Tensor]:
        """Losses and metrics of the averaged swapper on held-out people. Returns what the picture grid shows."""
        _, _, attempt = self._step(batch, self.ema.network, "val")
        image, source = attempt.image.clamp(0, 1), self.encoder(batch.source).embedding
        metrics = {
            "identity_target": identity_cosine(self.encoder(batch.target).embedding, source),
            "psnr_target": psnr(image, batch.target),
        }
        log_means(self, metrics)
        log_truth(self, image, batch)
        return {"swap": image}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """One optimizer and one schedule for the swapper, one of each for the discriminator."""
        _, judging = self._learning()
        parts = (self.swapper.parameter_groups(), {"discriminator": judging})
        optimizers = [rated(self.optimizer, groups, self.rates) for groups in parts]
        return optimizers, [{"scheduler": self.schedule(one), "interval": "step"} for one in optimizers]

    def save(self, path: str | Path, fraction: float) -> None:
        """Write the averaged swapper as one file that `teachers.trained_here` opens. fraction: completed share of its training.

        The file says what to feed it: size and framing of the crops, and the identity encoder.
        """
        notes = {
            "size": str(self.size),
            "template": self.template,
            "encoder": self.encoder.name,
            "encoder_dim": str(self.encoder.embedding_dim),
            "encoder_licence": self.encoder.licence,
            "licence": self.licence,
            "steps": str(self.global_step),
            "max_steps": str(self.trainer.max_steps),
            "fraction": f"{fraction:g}",
            "trained_with": f"idn-distill {idn.__version__}",
        }
        self.ema.network.save(path, notes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen networks out."""
        leave_out(checkpoint, FROZEN)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refill the frozen networks with what they hold now, so that the rest still loads strictly."""
        refill(checkpoint, self, FROZEN)


def check_trainer(trainer: pl.Trainer) -> None:
    """Raise UserError for options of the trainer that do not fit two networks which train each other."""
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={trainer.precision} does not fit `idn train-teacher`: take {', '.join(PRECISIONS[:-1])} or "
            f"{PRECISIONS[-1]}"
        )
    if trainer.gradient_clip_val is not None:
        raise UserError("trainer.gradient_clip_val does not reach two optimizers: set teacher_training.clip instead")
    check_single(trainer, "train-teacher", "the gradients of two networks are not shared between processes")
    if trainer.accumulate_grad_batches != 1:
        raise UserError("trainer.accumulate_grad_batches must be 1 for `idn train-teacher`: raise data.batch instead")
