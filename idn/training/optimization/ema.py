"""Exponential moving average of a network: the weights that are validated, saved and exported."""

import copy

import torch
from torch import nn

from idn.errors import UserError


class MovingAverage(nn.Module):
    """A frozen copy of `network` that follows it: average += (1 - d) * (current - average), buffers included.

    decay: the final d. Early on d = (1 + n) / (10 + n) after n updates, so that the random start is soon forgotten.
    Raises UserError unless 0 <= decay < 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"ema_decay={decay} must be at least 0 and below 1, such as 0.999")
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> "MovingAverage":
        """Stay in eval mode: the average is only ever used, never trained."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move one step towards `network`, which must have the tensors of the one given at the start."""
        ours, theirs = self.network.state_dict(), network.state_dict()
        if ours.keys() != theirs.keys():
            raise ValueError(f"networks differ: {sorted(ours.keys() ^ theirs.keys())[:3]}")
        count = int(self.updates) + 1
        decay = min(self.decay, (1 + count) / (10 + count))
        floating = [key for key, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[k] for k in floating], [theirs[k].detach() for k in floating], 1 - decay)
        for key in ours.keys() - set(floating):
            ours[key].copy_(theirs[key])
        self.updates.fill_(count)

    def forward(self, *inputs: torch.Tensor) -> object:
        """Whatever the averaged network returns."""
        return self.network(*inputs)
