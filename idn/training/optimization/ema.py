"""EMA, exponential moving average of a network: the weights that are validated, saved and exported."""

import copy

import torch
from torch import nn

from idn.errors import OptionError
from idn.files.option_checks import require_number


class MovingAverage(nn.Module):
    """A frozen copy of `network` that follows it: average += (1 - d) * (current - average), buffers included.

    ema_decay: the final d. Early on d = (1 + n) / (10 + n) after n updates, so that the random start is soon forgotten.
    Raises OptionError unless 0 <= ema_decay < 1.
    """

    def __init__(self, network: nn.Module, ema_decay: float) -> None:
        super().__init__()
        require_number("ema_decay", ema_decay)
        if not 0 <= ema_decay < 1:
            raise OptionError("ema_decay", ema_decay, "must be at least 0 and below 1, such as 0.999")
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = ema_decay
        self.count = 0  # of updates; counted here, so that no step waits for the device of the tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_post_hook(MovingAverage._count_on)

    def _count_on(self, keys: object) -> None:
        """After a checkpoint was loaded: go on with its number of updates."""
        self.count = int(self.updates)

    def train(self, mode: bool = True) -> "MovingAverage":
        """Stay in eval mode: the average is only ever used, never trained."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move one step towards `network`, which must have the tensors of the one given at the start."""
        ours, theirs = self.network.state_dict(), network.state_dict()
        if ours.keys() != theirs.keys():
            raise ValueError(f"networks differ: {sorted(ours.keys() ^ theirs.keys())[:3]}")
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        floating = [key for key, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[k] for k in floating], [theirs[k].detach() for k in floating], 1 - decay)
        for key in ours.keys() - set(floating):
            ours[key].copy_(theirs[key])
        self.updates.fill_(self.count)

    def forward(self, *inputs: torch.Tensor) -> object:
        """Whatever the averaged network returns."""
        return self.network(*inputs)
