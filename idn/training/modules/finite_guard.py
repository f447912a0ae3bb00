"""What stops a run before a step that would spoil its weights."""

from collections.abc import Iterable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from idn.errors import UserError
from idn.training.multi_process import mean_of_all


class Before:
    """The buffers of networks as they are now, such as BatchNorm statistics, until a batch has proved to be sound."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self.buffers = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]

    def demand(self, what: str, value: Tensor, step: int, advice: str) -> None:
        """Raise UserError, with the buffers as they were, if a number is not finite.

        what: its name, such as "loss". value: a tensor of one element. step: of the optimizer, the next one to be made.
        advice: what to do, the end of the sentence.
        """
        if torch.isfinite(value):
            return
        for buffer, before in self.buffers:
            buffer.copy_(before)
        raise UserError(
            f"the {what} became {value.item()} at step {step}: the weights before this step are kept; {advice}"
        )


class GuardedModule(pl.LightningModule):
    """A LightningModule with one optimizer that stops, as `Before` does, before a loss or gradient spoils its weights.

    Its training step calls `watch` first and `demand_finite` with its loss; the gradient is checked by itself. With
    precision 16-mixed a gradient that overflows is regular: the gradient scaler leaves that step out.
    Several processes stop together.
    advice: what to do against it, the end of a sentence.
    """

    def __init__(self, advice: str) -> None:
        super().__init__()
        self.advice = advice
        self._before = Before(())

    def watch(self, networks: Sequence[nn.Module]) -> None:
        """Remember the buffers of what a batch is about to go through."""
        self._before = Before(networks)

    def demand_finite(self, what: str, value: Tensor) -> None:
        """Raise UserError unless `value`, of one element, is a finite number; see `Before.demand`."""
        self._before.demand(what, mean_of_all(value), self.global_step, self.advice)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Look at the norm of the gradient, before it is clipped."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.demand_finite("gradient", gradient_norm(optimizer))


@torch.no_grad()
def gradient_norm(optimizer: Optimizer) -> Tensor:
    """Euclidean norm of the gradient of everything that an optimizer changes, a scalar."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
