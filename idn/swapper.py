"""Training of swappers that have no teacher: against a discriminator, a recogniser and themselves."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import idn
from idn.ema import MovingAverage
from idn.errors import UserError
from idn.losses.adversarial import HingeDiscriminator
from idn.losses.objective import Objective
from idn.metrics import identity_cosine, psnr, ssim, swap_gain
from idn.types import SwapAttempt, SwapBatch, SwapReference

FROZEN = ("encoder.", "discriminator.backbone.")
"""Prefixes of what is never written into a checkpoint."""
PRECISIONS = ("32-true", "bf16-mixed")


class SwapperModule(pl.LightningModule):
    """Trains `swapper` as SimSwap (arXiv:2106.06340) and FaceShifter (arXiv:1912.13457) were trained, and validates its
    moving average.

    swapper: `swapper(target, embedding)` returns pictures, `swapper.attributes(images)` its attribute maps, both as in
    teachers.trainable. discriminator: pictures to Verdict; takes the target for real. encoder: frozen identity encoder;
    it is not saved and does not change. objective: what the swapper minimises; the discriminator minimises the hinge.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer; made once for each of the
    two networks. size, frame: pixels and alignment template of the crops. licence: of the weights that come out.
    ema_decay: of the moving average. rates: learning rates of the swapper's parameter groups and of the
    "discriminator", relative to that of the optimizer; 1 where none is given. clip: largest norm of either network's
    gradient, None for no limit.
    Raises UserError if the swapper cannot work at that size, and for rates of groups that it does not have.
    """

    def __init__(
        self,
        swapper: nn.Module,
        discriminator: nn.Module,
        encoder: nn.Module,
        objective: Objective,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler],
        size: int,
        frame: str,
        licence: str,
        ema_decay: float = 0.999,
        rates: Mapping[str, float] | None = None,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        swapper.check_size(size)
        self.swapper = swapper.to(memory_format=torch.channels_last)
        self.discriminator, self.encoder = discriminator, encoder
        self.ema = MovingAverage(swapper, ema_decay)
        self.objective, self.hinge = objective, HingeDiscriminator()
        self.optimizer, self.schedule = optimizer, schedule
        self.size, self.frame, self.licence = size, frame, licence
        self.rates, self.clip = dict(rates or {}), clip
        groups = [*swapper.parameter_groups(), "discriminator"]
        if unknown := sorted(self.rates.keys() - set(groups)):
            raise UserError(f"adversarial.rates names {unknown[0]}, but there are {', '.join(groups)}")
        self.needs_attributes = "attributes" in objective.terms

    def attempt(self, batch: SwapBatch, swapper: nn.Module) -> tuple[SwapAttempt, SwapReference]:
        """Swap, and look at swap and target with every network that has a say. Gradients reach swapper and
        discriminator; nothing that describes the source carries one."""
        target = batch.target
        with torch.no_grad():
            source = self.encoder(batch.source).embedding.float()
            wanted = swapper.attributes(target) if self.needs_attributes else ()
        image = swapper(target, source)
        kept = swapper.attributes(image) if self.needs_attributes else ()
        seen = self.encoder(image).embedding.float()
        attempt = SwapAttempt(image, seen, self.discriminator(image), kept)
        return attempt, SwapReference(target, source, batch.same, self.discriminator(target), wanted)

    def _step(self, batch: SwapBatch, swapper: nn.Module, stage: str) -> tuple[Tensor, Tensor, SwapAttempt]:
        """The one path from a batch to the losses of swapper and discriminator, for training and validation alike."""
        attempt, reference = self.attempt(batch, swapper)
        trust = batch.target.new_ones(len(batch.target))  # there is no teacher to be doubted
        total, parts = self.objective(attempt, reference, trust, self.global_step)
        judged = self.hinge(reference.verdict, attempt.verdict).mean()
        logged = {f"{stage}/loss": total.detach(), f"{stage}/loss_discriminator": judged.detach()}
        logged |= {f"{stage}/loss_{name}": value for name, value in parts.items()}
        logged[f"{stage}/identity_swap"] = identity_cosine(attempt.embedding, reference.embedding).detach().mean()
        self.log_dict(logged, batch_size=len(batch.target), sync_dist=stage == "val")
        return total, judged, attempt

    def training_step(self, batch: SwapBatch, batch_idx: int) -> None:
        """One batch: both losses from one look, then one step of either network.

        Raises UserError as soon as a loss or a gradient is not a finite number, with both networks as they were before
        the batch: parameters have not been touched yet, and what the look did to buffers is undone.
        """
        networks = (self.swapper, self.discriminator)
        buffers = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
        total, judged, _ = self._step(batch, self.swapper, "train")
        found = {"loss": total.detach(), "loss of the discriminator": judged.detach()}
        if all(map(torch.isfinite, found.values())):
            norms = self._differentiate(total, judged)
            found |= zip(("gradient of the swapper", "gradient of the discriminator"), norms, strict=True)
        for what, value in found.items():
            if not torch.isfinite(value):
                for buffer, before in buffers:
                    buffer.copy_(before)
                raise UserError(
                    f"the {what} became {value.item()} at step {self.global_step}: the weights before this step are "
                    "kept; lower optim.lr, or check the data"
                )
        self._update()

    def _differentiate(self, total: Tensor, judged: Tensor) -> list[Tensor]:
        """Give either network the gradient of its own loss alone, clipped. Returns the norms before clipping."""
        ours, theirs = self._learning()
        for parameter in (*ours, *theirs):
            parameter.grad = None
        self.manual_backward(total, inputs=ours, retain_graph=True)
        self.manual_backward(judged, inputs=theirs)
        limit = math.inf if self.clip is None else self.clip
        return [nn.utils.clip_grad_norm_(parameters, limit) for parameters in (ours, theirs)]

    def _update(self) -> None:
        """One step of both networks, of their learning rates and of the average.

        Lightning counts the steps of its own optimizer objects, and that count is the position in the data: so the
        discriminator's optimizer is stepped behind its back, and one batch counts once.
        """
        swapper, discriminator = self.optimizers()
        swapper.step()
        discriminator.optimizer.step()
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
        if batch.truth is not None:
            metrics |= {
                "psnr_truth": psnr(image, batch.truth, batch.face),
                "ssim_truth": ssim(image, batch.truth, batch.face),
            }
            different = ~batch.same
            if different.any():
                gain = swap_gain(image, batch.target, batch.truth, batch.face)[different]
                self.log("val/swap_gain", gain.mean(), batch_size=int(different.sum()), sync_dist=True)
        means = {f"val/{name}": value.mean() for name, value in metrics.items()}
        self.log_dict(means, batch_size=len(batch.target), sync_dist=True)
        return {"swap": image}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """One optimizer and one schedule for the swapper, one of each for the discriminator."""
        _, judging = self._learning()
        optimizers = [self._optimizer(self.swapper.parameter_groups()), self._optimizer({"discriminator": judging})]
        return optimizers, [{"scheduler": self.schedule(one), "interval": "step"} for one in optimizers]

    def _optimizer(self, groups: Mapping[str, list[nn.Parameter]]) -> Optimizer:
        optimizer = self.optimizer([{"params": parameters} for parameters in groups.values()])
        for name, group in zip(groups, optimizer.param_groups, strict=True):
            group["lr"] *= self.rates.get(name, 1.0)
        return optimizer

    def save(self, path: str | Path, fraction: float) -> None:
        """Write the averaged swapper as one file that `teachers.own` opens. fraction: completed share of its training.

        The file says what to feed it: size and framing of the crops, and the identity encoder.
        """
        notes = {
            "size": str(self.size),
            "template": self.frame,
            "encoder": self.encoder.name,
            "encoder_dim": str(self.encoder.embedding_dim),
            "encoder_licence": self.encoder.licence,
            "licence": self.licence,
            "steps": str(self.global_step),
            "fraction": f"{fraction:g}",
            "trained_with": f"idn-distill {idn.__version__}",
        }
        self.ema.network.save(path, notes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen networks out."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith(FROZEN)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refill the frozen networks with what they hold now, so that the rest still loads strictly."""
        checkpoint["state_dict"] |= {k: v for k, v in self.state_dict().items() if k.startswith(FROZEN)}


def check_trainer(trainer: pl.Trainer) -> None:
    """Raise UserError for options of the trainer that do not fit two networks which train each other."""
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={trainer.precision} does not fit `idn teacher`: take {' or '.join(PRECISIONS)}"
        )
    if trainer.gradient_clip_val is not None:
        raise UserError("trainer.gradient_clip_val does not reach two optimizers: set adversarial.clip instead")
    if trainer.world_size != 1:
        raise UserError(
            "trainer.devices and trainer.num_nodes must be 1 for `idn teacher`: the gradients of two networks are not "
            "shared between processes"
        )
    if trainer.accumulate_grad_batches != 1:
        raise UserError("trainer.accumulate_grad_batches must be 1 for `idn teacher`: raise data.batch instead")
