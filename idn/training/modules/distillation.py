"""Distillation: the student learns from a frozen teacher (arXiv:2201.03808). A thin shell around its parts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from idn.losses.objective import Objective
from idn.metrics.images import identity_cosine, psnr, ssim
from idn.reweighting.trust import Trust
from idn.training.checkpoints import leave_out, refill
from idn.training.modules.finite_guard import GuardedModule
from idn.training.modules.validation import log_means, log_truth
from idn.training.optimization.ema import MovingAverage
from idn.training.optimization.optimizers import Build, check_rates, rated, stepwise
from idn.types import IdentityFeatures, Prediction, Supervision, SwapBatch

FROZEN = ("teacher.", "encoder.", "perceptual.", "trust.")
"""Prefixes of what is never written into a checkpoint."""


class Lesson(NamedTuple):
    """One batch with everything that the frozen networks say about it. No gradient."""

    batch: SwapBatch
    source: IdentityFeatures
    teacher_cosine: Tensor
    """(N,): of the identities of the teacher's picture and the source."""
    supervision: Supervision
    trust: Tensor


class DistillModule(GuardedModule):
    """Trains `student` on what `teacher` answers, and validates its moving average.

    student: idn.students.mobilefaceswap.student.Student, or any network with the same call.
    teacher, encoder, perceptual, trust: frozen; they are not saved and do not change. perceptual tells as
    `reads_encoder` whether it needs what the encoder saw.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer.
    ema_decay: of the moving average of the student. rates: learning rates of the student's parameter groups,
    relative to that of the optimizer; 1 where none is given. compile: compile the student in place.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        encoder: nn.Module,
        perceptual: nn.Module,
        trust: Trust,
        objective: Objective,
        optimizer: Build,
        schedule: Callable[[Optimizer], LRScheduler],
        ema_decay: float = 0.999,
        rates: Mapping[str, float] | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__("lower optim.lr, or check the data and the teacher's pictures")
        self.student = student
        self.ema = MovingAverage(student, ema_decay)
        self.teacher, self.encoder, self.perceptual, self.trust = teacher, encoder, perceptual, trust
        self.objective = objective
        self.optimizer, self.schedule = optimizer, schedule
        self.rates = dict(rates or {})
        check_rates("distillation.rates", self.rates, list(student.parameter_groups()), "the student has")
        self.needs_perceptual = "perceptual" in objective.terms
        if compile:
            self.student.compile()

    @torch.no_grad()
    def supervise(self, batch: SwapBatch) -> Lesson:
        """Ask the frozen networks once: who the source is, what the teacher answers, how far to trust it.

        Where the batch knows the cosine, the encoder looks at the teacher's picture only if the perceptual loss
        compares what it sees there.
        """
        source = self.encoder(batch.source)
        image = self.teacher(batch, source)
        cosine = batch.cached_cosine
        looks = cosine is None or (self.needs_perceptual and self.perceptual.reads_encoder)
        seen = self.encoder(image) if looks else None
        maps = self.perceptual(image, seen) if self.needs_perceptual else ()
        if cosine is None:
            cosine = identity_cosine(seen.embedding, source.embedding)
        trust = self.trust(cosine, image, batch.cached_quality)
        supervision = Supervision(image, source.embedding, batch.face, maps)
        return Lesson(batch, source, cosine, supervision, trust)

    def predict(self, student: nn.Module, lesson: Lesson) -> Prediction:
        """Swap with `student`, then look at the result with the encoder; gradients reach the picture."""
        out = student(lesson.batch.target, lesson.source)
        seen = self.encoder(out.image)
        maps = self.perceptual(out.image, seen) if self.needs_perceptual else ()
        return Prediction(out.image, out.mask, seen.embedding, maps)

    def _step(self, batch: SwapBatch, student: nn.Module, stage: str) -> tuple[Tensor, Lesson, Prediction]:
        """The one path from a batch to the loss, for training and validation alike."""
        lesson = self.supervise(batch)
        prediction = self.predict(student, lesson)
        total, parts = self.objective(prediction, lesson.supervision, lesson.trust, self.global_step)
        logged = {f"{stage}/loss": total.detach(), **{f"{stage}/loss_{name}": value for name, value in parts.items()}}
        logged |= {
            f"{stage}/trust": lesson.trust.mean(),
            f"{stage}/identity_student": identity_cosine(prediction.embedding, lesson.source.embedding).detach().mean(),
            f"{stage}/identity_teacher": lesson.teacher_cosine.mean(),
        }
        self.log_dict(logged, batch_size=len(batch.target), sync_dist=stage == "val")
        return total, lesson, prediction

    def training_step(self, batch: SwapBatch, batch_idx: int) -> dict[str, Tensor]:
        """One batch of the student.

        Raises UserError as soon as the loss or its gradient is not a finite number, with the student as it was before
        the batch: parameters have not been touched yet, and what the look did to BatchNorm statistics is undone.
        """
        self.watch([self.student])
        total, lesson, _ = self._step(batch, self.student, "train")
        self.demand_finite("loss", total)
        return {"loss": total, "trust": lesson.trust}

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """After every step of the optimizer the average follows, before anything is told or saved."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ema.update(self.student)

    def validation_step(self, batch: SwapBatch, batch_idx: int) -> dict[str, Tensor]:
        """Losses and metrics of the averaged student on held-out people. Returns what the picture grid shows."""
        _, lesson, prediction = self._step(batch, self.ema, "val")
        teacher = lesson.supervision.image
        metrics = {
            "identity_target": identity_cosine(self.encoder(batch.target).embedding, lesson.source.embedding),
            "psnr_teacher": psnr(prediction.image, teacher),
            "ssim_teacher": ssim(prediction.image, teacher),
        }
        log_means(self, metrics)
        log_truth(self, prediction.image, batch)
        shown = {"teacher": teacher, "student": prediction.image}
        return shown if prediction.mask is None else shown | {"mask": prediction.mask}

    def configure_optimizers(self) -> dict[str, Any]:
        """Only the student learns, every group of its parameters at its own rate."""
        return stepwise(rated(self.optimizer, self.student.parameter_groups(), self.rates), self.schedule)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen networks out."""
        leave_out(checkpoint, FROZEN)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refill the frozen networks with what they hold now, so that the rest still loads strictly."""
        refill(checkpoint, self, FROZEN)
