"""FiniteGuard: stops a run before a loss or gradient that is not finite would spoil its weights."""

from collections.abc import Iterable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from idn.errors import OptionError, UserError
from idn.training.multi_process import mean_of_all

COARSE = {
    "16-true": "keeps weights and optimizer in float16, where the squares of small gradients become 0 and the first "
    "step divides by them: take 32-true, or bf16-mixed or 16-mixed, which keep the weights in float32",
    "bf16-true": "keeps the weights in bfloat16, where a step or a moving average that changes a weight by less than a "
    "256th is lost: take bf16-mixed, which keeps the weights in float32, or 32-true",
}
"""What is wrong with precisions that no training here survives."""


class NotFinite(UserError):
    """A loss or a gradient became infinite or nan, and the run stopped.

    what: which, such as "loss".
    step: the number of the optimizer step that was not made.
    whole: whether the weights themselves are finite still.
    """

    def __init__(self, sentence: str, what: str, step: int, whole: bool) -> None:
        super().__init__(sentence)
        self.what, self.step, self.whole = what, step, whole


class FiniteGuard(pl.LightningModule):
    """A LightningModule that stops when a loss or gradient is not a finite number, with its networks as they were.

    Its training step calls `watch` first and `demand_finite` with its loss; with automatic optimization the gradient is
    checked by itself. With precision 16-mixed a gradient that overflows is regular: the gradient scaler leaves that
    step out. Several processes stop together. Precisions that keep the weights in 16 bits are refused at the start.

    advice: what to do against it, the end of a sentence.
    """

    def __init__(self, advice: str) -> None:
        super().__init__()
        self.advice = advice
        self._buffers_before: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Raise OptionError for a trainer that would keep the weights themselves in half precision."""
        if self.trainer.precision in COARSE:
            raise OptionError("precision", self.trainer.precision, COARSE[self.trainer.precision], self.trainer)

    def watch(self, networks: Iterable[nn.Module]) -> None:
        """Remember the buffers, such as BatchNorm statistics, of what a batch is about to go through."""
        self._buffers_before = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]

    def demand_finite(self, what: str, value: Tensor) -> None:
        """Raise NotFinite, with the buffers as they were, if a number is not finite. Parameters are untouched yet.

        what: its name, such as "loss".
        value: a tensor of one element.
        """
        value = mean_of_all(value)
        if torch.isfinite(value):
            return
        for buffer, before in self._buffers_before:
            buffer.copy_(before)
        whole = all(bool(parameter.isfinite().all()) for parameter in self.parameters())
        kept = "the weights before this step are kept" if whole else "an earlier step has spoiled the weights already"
        half = self.trainer.precision == "16-mixed"
        further = ", or take bf16-mixed or 32-true: float16 ends at 65504" if half else ""
        sentence = f"the {what} became {value.item()} at step {self.global_step}: {kept}; {self.advice}{further}"
        raise NotFinite(sentence, what, self.global_step, whole)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Look at the norm of the gradient, before it is clipped."""
        if self.automatic_optimization and getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.demand_finite("gradient", gradient_norm(optimizer))


@torch.no_grad()
def gradient_norm(optimizer: Optimizer) -> Tensor:
    """Euclidean norm of the gradient of everything that an optimizer changes, a scalar."""
    parameters: Sequence[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
