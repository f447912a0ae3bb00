"""The IDN: a U-Net of dynamic depthwise-pointwise pairs, a head, and the weakly-semantic fusion module.

MobileFaceSwap (arXiv:2201.03808), as published. Where an equal order of operations is cheaper, that one runs.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import UserError
from idn.images import to_01, to_pm1
from idn.students.mobilefaceswap.dynamic import arrange, depthwise, fold, pointwise, pointwise_per_identity
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.injection import SLOPE
from idn.students.mobilefaceswap.layout import Layout
from idn.types import SwapOutput, repeat_rows

STRIDE = 32
"""Sides of a target are multiples of this: five stages halve them."""


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W): bilinear, corners aligned."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class Head(nn.Module):
    """Generated image from the last decoder map, up to the closing tanh.

    Published order: upsampling, 1x1, BatchNorm, LeakyReLU, 3x3, BatchNorm, LeakyReLU, 3x3. A pointwise
    convolution and a bilinear upsampling commute (weights of the latter sum to 1), so here the 1x1 comes first; the
    BatchNorm still sees the upsampled map.
    """

    def __init__(self, c_in: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(c_in, hidden, 1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv1 = nn.Conv2d(hidden, 3, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, demodulation: Tensor) -> Tensor:
        """x: (N, C, H, W), still without its demodulation: (M, C), M divides N.

        Returns (N, 3, 2H, 2W), to which tanh applies.
        """
        weights = self.reduce.weight.flatten(1) * demodulation[:, None, :]
        x = pointwise_per_identity(x, weights, self.reduce.bias)
        x = F.leaky_relu(self.norm1(double(x)), SLOPE, inplace=True)
        x = F.leaky_relu(self.norm2(self.conv1(x)), SLOPE, inplace=True)
        return self.conv2(x)


class FusionStage(nn.Module):
    """Upsampling, depthwise 3x3, pointwise, BatchNorm, LeakyReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, 2H, 2W)."""
        return F.leaky_relu(self.norm(self.pointwise(self.depthwise(double(x)))), SLOPE, inplace=True)


class FusionModule(nn.Module):
    """Weakly-semantic fusion mask from the deepest encoder map; no gradient goes back into that map."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(FusionStage(a, b) for a, b in pairwise(channels)))
        self.last = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, deepest: Tensor) -> Tensor:
        """deepest: (N, C, H, W). Returns (N, 1, 32 H, 32 W), to which the sigmoid applies."""
        return self.last(self.stages(deepest.detach()))


def check_target(target: Tensor) -> None:
    """Raise ValueError unless target is (N, 3, H, W), and UserError unless H and W are multiples of 32."""
    if target.ndim != 4 or target.shape[1] != 3:
        raise ValueError(f"target: expected (N, 3, S, S), got {tuple(target.shape)}")
    height, width = target.shape[2:]
    if height % STRIDE or width % STRIDE or not height or not width:
        raise UserError(f"the target is {height} x {width} px: choose a size divisible by {STRIDE}, such as 128 or 224")


class IDN(nn.Module):
    """Identity-aware dynamic network: everything of the student that runs once per frame.

    Its own parameters are those of the head and the fusion module. All others arrive as DynamicWeights.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.stages = len(layout.encoder) - 1
        self.head = Head(layout.decoder[-1], layout.head)
        self.fusion = FusionModule(layout.fusion)

    def forward(self, target: Tensor, weights: DynamicWeights) -> SwapOutput:
        """Put the M identities held by `weights` into `target`, each into N / M targets in a row.

        target: (N, 3, S, S) RGB in [0, 1], S % 32 == 0. Returns image and generated picture, (N, 3, S, S),
        and mask (N, 1, S, S), in [0, 1]. All come in the type of `target`, also under autocast. Raises UserError if S
        is not divisible by 32, ValueError if M does not divide N.
        """
        check_target(target)
        targets, rest = divmod(target.shape[0], weights.scale[0].shape[0])
        if rest:
            raise ValueError(f"{target.shape[0]} targets, but weights of {weights.scale[0].shape[0]} identities")
        kernels = fold(weights)
        x = arrange(to_pm1(target))
        maps = []
        for kernel, weight in zip(kernels[: self.stages], weights.pointwise[: self.stages], strict=True):
            x = F.leaky_relu(pointwise(depthwise(x, kernel, 2), weight), SLOPE, inplace=True)
            maps.append(x)
        deepest = maps.pop()
        demodulation = repeat_rows(weights.demodulation[self.stages - 1], targets)
        mask = self.fusion(deepest * demodulation[:, :, None, None])
        mask = torch.sigmoid(mask.to(target.dtype))
        for kernel, weight in zip(kernels[self.stages :], weights.pointwise[self.stages :], strict=True):
            x = F.leaky_relu(pointwise(depthwise(double(x), kernel, 1), weight), SLOPE, inplace=True)
            if len(maps) > 1:
                x = torch.cat([x, maps.pop()], 1)
        generated = to_01(torch.tanh(self.head(x, weights.demodulation[-1]).to(target.dtype)))
        return SwapOutput(torch.lerp(target, generated, mask), mask, generated)
