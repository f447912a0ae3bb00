"""The identity encoder as an app calls it."""

import torch
from torch import Tensor, nn

from idn.types import IdentityEncoder, Network


class EncoderGraph(nn.Module):
    """An identity encoder that was built for crops of its own template and is given them in its own size, so that
    nothing is left to align: (1, 3, E, E) RGB in [0, 1] -> embedding (1, D), L2-normalised, and features (1, C, s, s).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """crop: (N, 3, E, E) RGB in [0, 1]."""
        seen = self.encoder(crop)
        return seen.embedding, seen.features.contiguous()


def encoder_network(encoder: IdentityEncoder) -> Network:
    """`encoder`, frozen and on the CPU, as a network that can be written."""
    side = encoder.input_size
    return Network(
        "encoder", EncoderGraph(encoder).eval(), {"crop": torch.zeros(1, 3, side, side)}, ("embedding", "features")
    )
