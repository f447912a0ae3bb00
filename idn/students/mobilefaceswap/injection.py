"""The injection network: it runs once per source identity and predicts the dynamic weights of the IDN.

MobileFaceSwap (arXiv:2201.03808), as published, with the sizes of the identity encoder as parameters.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.files.option_checks import require_int
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.layout import Layout

SLOPE = 0.1
"""Negative slope of every LeakyReLU of the student."""


class KernelBlock(nn.Module):
    """One link of a prediction chain: conv 3x3, BatchNorm, LeakyReLU; a second conv 3x3 reads the kernels out."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(c_out)
        self.readout = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, c_in, k, k). Returns the next link's input and the kernels, both (N, c_out, k, k)."""
        x = F.leaky_relu(self.norm(self.conv(x)), SLOPE)
        return x, self.readout(x)


class WeightPrediction(nn.Module):
    """Depthwise kernels of the IDN from the last feature map of the identity encoder.

    A first convolution shrinks the map to a 4x4 grid; from there on the grid of each channel is that channel's kernel.
    The encoder chain walks from the deepest pair to the shallowest. A 2x2 convolution gives the decoder chain its 3x3
    grid.
    """

    def __init__(self, feature_channels: int, feature_size: int, layout: Layout) -> None:
        super().__init__()
        stem, encoder_in, decoder_in = layout.encoder[-1], layout.encoder[-2::-1], layout.decoder_in
        self.stem = nn.Conv2d(feature_channels, stem, feature_size - 3)
        self.norm = nn.BatchNorm2d(stem)
        self.decoder_stem = nn.Conv2d(stem, stem, 2)
        self.decoder_norm = nn.BatchNorm2d(stem)
        self.encoder = _chain([stem, *encoder_in])
        self.decoder = _chain([stem, *decoder_in])

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """features: (N, C, s, s). Returns the kernels in the order of DynamicWeights, (N, C_in, k, k) each."""
        grid = F.leaky_relu(self.norm(self.stem(features)), SLOPE)
        encoder = _read(self.encoder, grid)
        decoder = _read(self.decoder, F.leaky_relu(self.decoder_norm(self.decoder_stem(grid)), SLOPE))
        return *reversed(encoder), *decoder


def _chain(channels: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(KernelBlock(a, b) for a, b in pairwise(channels))


def _read(chain: nn.ModuleList, x: Tensor) -> list[Tensor]:
    kernels = []
    for block in chain:
        x, kernel = block(x)
        kernels.append(kernel)
    return kernels


class WeightModulation(nn.Module):
    """Pointwise kernel of one pair, scaled by the embedding and demodulated to unit rows (as in StyleGAN2)."""

    EPS = 1e-16

    def __init__(self, embedding_dim: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in))
        self.gain = nn.Linear(embedding_dim, c_in)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """embedding: (N, D). Returns scale (N, c_in) and demodulation (N, c_out); always in full precision."""
        with torch.autocast(embedding.device.type, enabled=False):
            scale = 1 + self.gain(embedding.to(self.weight.dtype))
            return scale, (F.linear(scale.square(), self.weight.square()) + self.EPS).rsqrt()


class InjectionNetwork(nn.Module):
    """Weight prediction and one weight modulation per pair: the identity injection modules of all nine pairs.

    The sizes are those of the identity encoder. Raises UserError for features of less than 4 pixels.
    """

    def __init__(self, embedding_dim: int, feature_channels: int, feature_size: int, layout: Layout) -> None:
        super().__init__()
        require_int("feature_size", feature_size, 4)
        self.expected = (embedding_dim, feature_channels, feature_size)
        self.prediction = WeightPrediction(feature_channels, feature_size, layout)
        self.modulation = nn.ModuleList(WeightModulation(embedding_dim, a, b) for a, b in layout.pairs)

    def forward(self, id_emb: Tensor, id_features: Tensor) -> DynamicWeights:
        """Predict the weights of N identities.

        id_emb: (N, D), L2-normalised; id_features: (N, C, s, s), from the same pass of the identity encoder. Raises
        ValueError if they have other sizes than the network was built for.
        """
        dim, channels, size = self.expected
        n = id_emb.shape[0]
        if id_emb.shape != (n, dim) or id_features.shape != (n, channels, size, size):
            raise ValueError(
                f"identity: expected (N, {dim}) and (N, {channels}, {size}, {size}), "
                f"got {tuple(id_emb.shape)} and {tuple(id_features.shape)}"
            )
        scale, demodulation = zip(*(module(id_emb) for module in self.modulation), strict=True)
        pointwise = tuple(module.weight for module in self.modulation)
        return DynamicWeights(self.prediction(id_features), pointwise, scale, demodulation)
