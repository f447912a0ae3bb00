"""The generator of HifiFace (arXiv:2106.09965), in the layout of maum-ai/hififace."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 256
"""Pixels that it was trained at."""
SHAPE_DIM = 257
"""Numbers that describe a face as a 3D morphable model."""
IDENTITY_DIM = 512
VECTOR_DIM = SHAPE_DIM + IDENTITY_DIM
"""Length of the vector that the generator is told: shape, then identity."""
WIDTH = 64
"""Channels of the first convolution as published."""

_SLOPE = 0.2
_HALVINGS = 5


class ResBlock(nn.Module):
    """Twice instance norm, LeakyReLU and a 3x3 convolution, beside a 1x1 convolution. The norms have no parameters.

    resize: what happens between the two halves, and after the shortcut; None for nothing.
    """

    def __init__(self, c_in: int, c_out: int, resize: nn.Module | None = None) -> None:
        super().__init__()
        between = [] if resize is None else [resize]
        self.main_path = nn.Sequential(
            nn.InstanceNorm2d(c_in), *_activated_conv(c_in, c_out), *between,
            nn.InstanceNorm2d(c_out), *_activated_conv(c_out, c_out),
        )  # fmt: skip
        self.side_path = nn.Sequential(nn.Conv2d(c_in, c_out, 1), *between)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W), resized."""
        return self.main_path(x) + self.side_path(x)


class AdaIn(nn.Module):
    """Instance norm, then a deviation and a mean, both linear in the vector; the deviation is not 1 + it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.std_style_fc = nn.Linear(VECTOR_DIM, channels)
        self.mean_style_fc = nn.Linear(VECTOR_DIM, channels)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x: (N, channels, H, W). vector: (N, 769). Returns the shape of x."""
        std, mean = (fc(vector)[:, :, None, None] for fc in (self.std_style_fc, self.mean_style_fc))
        return std * F.instance_norm(x, eps=1e-5) + mean


class AdaInResBlock(nn.Module):
    """ResBlock with AdaIn in place of its norms. resize: as there."""

    def __init__(self, c_in: int, c_out: int, resize: nn.Module | None = None) -> None:
        super().__init__()
        after = [] if resize is None else [resize]
        self.adain1 = AdaIn(c_in)
        self.adain2 = AdaIn(c_out)
        self.main_path1 = nn.Sequential(*_activated_conv(c_in, c_out), *after)
        self.main_path2 = nn.Sequential(*_activated_conv(c_out, c_out))
        self.side_path = nn.Sequential(nn.Conv2d(c_in, c_out, 1), *after)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x: (N, c_in, H, W). vector: (N, 769). Returns (N, c_out, H, W), resized."""
        y = self.main_path1(self.adain1(x, vector))
        return self.main_path2(self.adain2(y, vector)) + self.side_path(x)


class Encoder(nn.Module):
    """Seven blocks over the target, of which the first five halve it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width * factor for factor in (1, 2, 4, 8, 8, 8, 8, 8)]
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.block_list = nn.ModuleList(
            ResBlock(c_in, c_out, _halve() if index < _HALVINGS else None)
            for index, (c_in, c_out) in enumerate(pairwise(channels))
        )

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) -> what the fusion sees, (N, 4 width, S / 4, S / 4), and (N, 8 width, S / 32, S / 32)."""
        x = self.conv_first(target)
        maps = []
        for block in self.block_list:
            x = block(x)
            maps.append(x)
        return maps[1], x


class Decoder(nn.Module):
    """Five blocks that put the person in, of which the last three double the map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width * factor for factor in (8, 8, 8, 8, 8, 4)]
        self.block_list = nn.ModuleList(
            AdaInResBlock(c_in, c_out, _double() if index > 1 else None)
            for index, (c_in, c_out) in enumerate(pairwise(channels))
        )

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """x: (N, 8 width, S / 32, S / 32). vector: (N, 769). Returns (N, 4 width, S / 4, S / 4)."""
        for block in self.block_list:
            x = block(x, vector)
        return x


class Upsampler(nn.Module):
    """Features at a quarter of the size -> mask and picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            ResBlock(4 * width, width, _double()),
            ResBlock(width, width // 4, _double()),
            ResBlock(width // 4, width // 8),
            ResBlock(width // 8, 4),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 4 width, S / 4, S / 4) -> (N, 3, S, S) unbounded and (N, 1, S, S) in (-1, 1).

        The mask is the first of the four channels, and a tanh, not a sigmoid, bounds it.
        """
        mask, image = self.net(x).split((1, 3), 1)
        return image, mask.tanh()


class SemanticFusion(nn.Module):
    """Blends the features of the target with those that were drawn, then blends the pictures."""

    def __init__(self, width: int) -> None:
        super().__init__()
        c = 4 * width
        self.sigma = ResBlock(c, c)
        self.low_mask_predict = ResBlock(c, 1)
        self.z_fuse_block = AdaInResBlock(c, c + 3)
        self.f_up = Upsampler(width)

    def forward(self, target: Tensor, kept: Tensor, drawn: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """target: (N, 3, S, S). kept, drawn: (N, 4 width, S / 4, S / 4). vector: (N, 769).

        Returns the composite, (N, 3, S, S), and its mask, (N, 1, S, S). The first three fused channels are a small
        picture that only served the training.
        """
        low = self.low_mask_predict(drawn).tanh()
        fused = self.z_fuse_block(low * drawn + (1 - low) * self.sigma(kept), vector)
        image, mask = self.f_up(fused[:, 3:])
        return mask * image + (1 - mask) * target, mask


class HifiFaceNet(nn.Module):
    """Target, shape and identity -> swap. Module names are those of `generator` in the published checkpoint.

    width: channels of the first convolution, a multiple of 8; all others follow. 57,596,438 parameters as published.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.decoder = Decoder(width)
        self.sff_module = SemanticFusion(width)

    def forward(self, target: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """target: (N, 3, S, S) RGB in [0, 1], S a multiple of 32 from 64 on. vector: (N, 769), see VECTOR_DIM.

        Returns the swap, (N, 3, S, S) in [0, 1], already fused with the target, and the mask that fused it,
        (N, 1, S, S) in (-1, 1). Raises ValueError for other shapes.
        """
        n, channels, height, side = target.shape
        if channels != 3 or height != side or side % 2**_HALVINGS or side < 2 ** (_HALVINGS + 1):
            raise ValueError(f"target: expected (N, 3, S, S) with S = 64, 96, ..., got {tuple(target.shape)}")
        if vector.shape != (n, VECTOR_DIM):
            raise ValueError(f"vector: expected ({n}, {VECTOR_DIM}), got {tuple(vector.shape)}")
        kept, deep = self.encoder(target)
        image, mask = self.sff_module(target, kept, self.decoder(deep, vector), vector)
        return image.clamp(0, 1), mask


def _activated_conv(c_in: int, c_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.LeakyReLU(_SLOPE), nn.Conv2d(c_in, c_out, 3, padding=1)


def _halve() -> nn.Module:
    return nn.AvgPool2d(2)


def _double() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
