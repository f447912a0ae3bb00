"""DynamicWeights: what the injection network predicts for the IDN, per identity."""

from typing import NamedTuple

from torch import Tensor


class DynamicWeights(NamedTuple):
    """What an injection network predicts for N identities: one entry per depthwise-pointwise pair of the IDN, five of
    the encoder, then four of the decoder.

    The pointwise kernel of identity n and layer l is
    `pointwise[l] * scale[l][n, None, :] * demodulation[l][n, :, None]`: only the two vectors depend on the identity.
    """

    depthwise: tuple[Tensor, ...]
    """(N, C_in, k, k) each: k = 4 in the encoder, 3 in the decoder."""
    pointwise: tuple[Tensor, ...]
    """(C_out, C_in) each, shared by all identities."""
    scale: tuple[Tensor, ...]
    """(N, C_in) each: 1 + s(z)."""
    demodulation: tuple[Tensor, ...]
    """(N, C_out) each, positive: 1 / norm of the scaled rows."""
