"""RecognitionTraining: the LightningModule that trains a face recogniser and verifies pairs of people never seen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import CatMetric

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int
from idn.losses.recognition import AngularMargin
from idn.metrics.verification import verify
from idn.training.modules.finite_guard import FiniteGuard
from idn.training.optimization.optimizers import Build, decayed_kernels, gradient_scaler, stepwise, unfused


class RecognitionTraining(FiniteGuard):
    """Trains `network` to tell `classes` people apart by an additive angular margin (arXiv:1801.07698).

    network: images (N, 3, S, S) in [0, 1] -> IdentityFeatures, with `embedding_dim`; the head is thrown away later.
    classes: people in the training set.
    margin: radians by which the true class must win; it grows linearly from 0 over `margin_steps` steps, because a full
        margin on a random network keeps small ones from learning at all.
    scale: of the cosines before the softmax.
    margin_steps: see margin.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer. Biases and BatchNorms get
        no weight decay.
    folds: of the verification protocol.
    people: known coordinates of every class, where there are any (see `AngularMargin`).

    Training batches are (images, labels), validation batches (images_a, images_b, same). Raises UserError for fewer
    than two classes, OptionError for fewer than two folds and for what `AngularMargin` refuses.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        margin: float,
        scale: float,
        margin_steps: int,
        optimizer: Build,
        schedule: Callable[[Optimizer], LRScheduler],
        folds: int = 10,
        people: Tensor | None = None,
    ) -> None:
        super().__init__("lower the learning rate")
        if classes < 2:
            raise UserError(f"the training data hold {classes} people: a recogniser needs two or more")
        require_int("folds", folds, 2)
        require_int("margin_steps", margin_steps, 0)
        self.network = network.to(memory_format=torch.channels_last)
        try:
            self.head = AngularMargin(network.embedding_dim, classes, margin, scale, people)
        except OptionError as error:
            raise error.owned(network) if error.argument == "embedding_dim" else error from None
        self.margin_steps, self.folds = margin_steps, folds
        self.optimizer, self.schedule = optimizer, schedule
        self.cosines, self.same = (CatMetric(sync_on_compute=False) for _ in range(2))  # every process sees all pairs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """images: (N, 3, S, S); labels: (N,) in [0, classes).

        Raises UserError when the loss is not finite, with network and head as they were before the batch.
        """
        images, labels = batch
        self.watch([self.network])
        cosines = self.head.logits(self.network(images).embedding)
        eased = min(1.0, self.global_step / max(self.margin_steps, 1))
        loss = self.head(cosines, labels, eased).mean()
        self.demand_finite("loss", loss)
        right = (cosines.argmax(1) == labels).float().mean()
        self.log_dict({"train/loss": loss.detach(), "train/accuracy": right}, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """images_a, images_b: (N, 3, S, S); same: (N,) bool. Scores come at the end, over all pairs."""
        images_a, images_b, same = batch
        embedding = self.network(torch.cat([images_a, images_b])).embedding
        a, b = embedding.chunk(2)
        self.cosines.update((a * b).sum(1))
        self.same.update(same.float())

    def on_validation_epoch_end(self) -> None:
        """Log `val/accuracy`, `val/auc` and `val/tar_at_far_1e-3`; the few pairs of a sanity check give none.

        Raises UserError if there are fewer pairs of a kind than folds.
        """
        if not self.trainer.sanity_checking:
            same = self.same.compute() > 0.5
            self.check_pairs(min(int(same.sum()), int((~same).sum())))
            scores = verify(self.cosines.compute(), same, self.folds)
            self.log_dict({f"val/{name}": value for name, value in scores.items()}, sync_dist=True)
        self.cosines.reset()
        self.same.reset()

    def check_pairs(self, least: int) -> None:
        """Raise OptionError if there are more folds than verification pairs of the rarer kind, which are `least`."""
        if least < self.folds:
            wanted = f"is more than the {least} verification pairs of one kind: lower it, or take more pairs"
            raise OptionError("folds", self.folds, wanted, self)

    def configure_optimizers(self) -> dict[str, Any]:
        """Network and head learn together; one-dimensional parameters without weight decay."""
        build = unfused(self.optimizer, gradient_scaler(self))
        return stepwise(decayed_kernels(build, self.parameters()), self.schedule)
