"""Encoder fingerprint: which weights an identity encoder has, whatever crops it was built for."""

import torch
from torch import nn

from idn.types import EncoderDescription, IdentityEncoder

_COLOUR = (0.2, 0.5, 0.8)
"""A picture of one colour is the same picture in every template and size."""
_SIDE = 64
_LENGTH = 8
_TOLERANCE = 1e-3


@torch.no_grad()
def describe_encoder(encoder: IdentityEncoder) -> EncoderDescription:
    """Name and sizes of an encoder, and as its mark a part of its embedding of a picture of one colour."""
    parameter = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
    device = "cpu" if parameter is None else parameter.device
    picture = torch.tensor(_COLOUR, device=device)[None, :, None, None].expand(1, 3, _SIDE, _SIDE)
    mark = tuple(round(value, 6) for value in encoder(picture.contiguous()).embedding[0, :_LENGTH].tolist())
    sizes = encoder.embedding_dim, encoder.feature_channels, encoder.feature_size
    return EncoderDescription(*sizes, encoder.name, mark)


def same_mark(one: EncoderDescription, other: EncoderDescription) -> bool:
    """Whether two encoders answered alike: on any device, and within what rounding changes."""
    if len(one.mark) != len(other.mark):
        return False
    return all(abs(a - b) <= _TOLERANCE for a, b in zip(one.mark, other.mark, strict=True))
