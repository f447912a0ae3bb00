"""QualityTraining: the LightningModule of the quality scorer Q (arXiv:2201.03808), a regressor of graded pictures."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import CatMetric

from idn.metrics.scoring import agreement
from idn.reweighting.graded.pictures import GradedBatch, Grades
from idn.reweighting.scorer import ScorerNetwork
from idn.training.modules.finite_guard import FiniteGuard
from idn.training.optimization.optimizers import Build, decayed_kernels, gradient_scaler, stepwise, unfused


class Level(NamedTuple):
    """Means over the pictures of one grade."""

    grade: float
    """What they have in common."""
    label: float
    """Mean label."""
    score: float
    """Mean score."""
    error: float
    """Mean absolute error to the exact swap, infinite where nobody knows."""


class QualityTraining(FiniteGuard):
    """Trains `network` to tell the label of a picture, by squared error.

    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer. Biases and BatchNorms get
    no weight decay. `levels` holds, after a validation, what `by_grade` says of all held-out pictures.
    """

    def __init__(
        self,
        network: ScorerNetwork,
        optimizer: Build,
        schedule: Callable[[Optimizer], LRScheduler],
    ) -> None:
        super().__init__("lower the learning rate")
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer, self.schedule = optimizer, schedule
        self.seen = nn.ModuleList(CatMetric() for _ in range(1 + len(Grades._fields)))
        self.levels: list[Level] = []

    def training_step(self, batch: GradedBatch, batch_idx: int) -> Tensor:
        """One batch. Raises UserError when the loss is not finite, with the network as it was before the batch."""
        self.watch([self.network])
        loss = (self.network(batch.images) - batch.known.labels).square().mean()
        self.demand_finite("loss", loss)
        self.log("train/loss", loss.detach(), batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: GradedBatch, batch_idx: int) -> None:
        """Scores come together at the end, over all held-out pictures."""
        scores = self.network(batch.images).float()
        for metric, values in zip(self.seen, (scores, *batch.known), strict=True):
            metric.update(values)

    def on_validation_epoch_end(self) -> None:
        """Log what `agreement` says as `val/...`."""
        scores, *columns = (metric.compute() for metric in self.seen)
        known = Grades(*columns)
        self.log_dict({f"val/{name}": value for name, value in agreement(scores, known).items()})
        self.levels = by_grade(scores, known)
        for metric in self.seen:
            metric.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        """One-dimensional parameters learn without weight decay."""
        build = unfused(self.optimizer, gradient_scaler(self))
        return stepwise(decayed_kernels(build, self.parameters()), self.schedule)


def by_grade(scores: Tensor, known: Grades) -> list[Level]:
    """Means over the pictures of every grade, in growing order. scores: (P,); known: of the same P pictures."""
    rows = [(grade, known.grades == grade) for grade in known.grades.unique()]
    columns = (known.labels, scores, known.errors)
    return [Level(float(grade), *(float(column[mine].mean()) for column in columns)) for grade, mine in rows]
