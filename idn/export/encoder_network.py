"""The identity encoder as an app calls it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idn.types import IdentityEncoder, Network


class EncoderGraph(nn.Module):
    """An identity encoder that was built for crops of its own template and is given them in its own size, so that
    nothing is left to align. reads: fields of IdentityFeatures to return, in their order.
    """

    def __init__(self, encoder: nn.Module, reads: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.reads = encoder, tuple(reads)

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """crop: (N, 3, E, E) RGB in [0, 1]. Such as the embedding (N, D), L2-normalised, and features (N, C, s, s)."""
        seen = self.encoder(crop)
        return tuple(getattr(seen, name).contiguous() for name in self.reads)


def encoder_network(encoder: IdentityEncoder, reads: Sequence[str] = ("embedding", "features")) -> Network:
    """`encoder`, frozen and on the CPU, as a network that can be written. reads: what the student reads of a person."""
    side = encoder.input_size
    module = EncoderGraph(encoder, reads).eval()
    return Network("encoder", module, {"crop": torch.zeros(1, 3, side, side)}, tuple(reads))
