"""Networks that are used and never trained."""

from typing import Self

from torch import nn


class Frozen(nn.Module):
    """Base of every network that must not change: eval mode whatever a trainer calls, no gradient to its parameters.

    Gradients still pass through to the input, so an identity loss reaches the image that it judges. Subclasses call
    `self.freeze()` at the end of `__init__`.
    """

    def freeze(self) -> Self:
        """Turn off the gradient of every parameter and enter eval mode for good."""
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: BatchNorm statistics of a frozen network must not move."""
        return super().train(False)
