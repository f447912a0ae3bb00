"""Networks that are used and never trained, and building them for the weights of a file."""

from collections.abc import Callable
from typing import Self, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


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


def build_uninitialised(build: Callable[[], Network]) -> Network:
    """What `build` builds, on the CPU, without the time that random initial weights take.

    Its parameters are whatever lay in memory and its buffers are zero, until a file fills them.
    """
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    for buffer in network.buffers():
        buffer.zero_()
    return network
