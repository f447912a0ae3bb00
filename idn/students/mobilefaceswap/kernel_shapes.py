"""Depthwise kernels that training starts from: every channel has a shape of its own, and all maps an even magnitude."""

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.students.mobilefaceswap.injection import SLOPE, KernelBlock
from idn.students.mobilefaceswap.layout import Layout

LOW_PASS = 1 / 30
"""Weight of the constant shape beside that of the differences, in all pairs but the first, which reads the picture."""

FIRST_LOW_PASS = 4.0
"""The same in the first pair: three kernels alone see the picture, and it is the colours that they must not lose."""

MAGNITUDE = 1.0
"""Root mean square of the maps of every pair on smooth random pictures."""

_TICKS = {3: ((1, 1, 1), (-1, 0, 1), (1, -2, 1)), 4: ((1, 1, 1, 1), (-1, 0, 0, 1), (1, -1, -1, 1))}
"""Low-pass, first and second difference along an axis of 3 and 4 taps. A 3x3 convolution over a constant grid with zero
padding tells the first tap, the inner ones and the last apart, and can make any of these."""


def own_shapes(channels: int, side: int, low_pass: float) -> Tensor:
    """Random kernels, (channels, side, side), of norm 1: sums of products of a low-pass and of two differences.

    side: 3 or 4. low_pass: weight of the constant kernel, relative to that of the eight others.
    """
    ticks = F.normalize(torch.tensor(_TICKS[side], dtype=torch.float32), dim=1)
    shares = torch.randn(channels, 3, 3)
    shares[:, 0, 0] = low_pass
    kernels = torch.einsum("cab,ai,bj->cij", shares, ticks, ticks)
    return F.normalize(kernels.flatten(1), dim=1).unflatten(1, (side, side))


def starting_kernels(layout: Layout, pointwise: list[Tensor]) -> list[Tensor]:
    """Depthwise kernels of the nine pairs, (C_in, k, k) each, in the order of DynamicWeights.

    pointwise: (C_out, C_in) of every pair. The kernels of a pair are scaled until its maps have the wanted magnitude.
    """
    stages = len(layout.encoder) - 1
    x = _smooth_pictures(4, 128)
    kernels, maps = [], []
    for number, weight in enumerate(pointwise):
        encodes = number < stages
        kernel = own_shapes(weight.shape[1], 4 if encodes else 3, LOW_PASS if number else FIRST_LOW_PASS)
        if not encodes:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        x = F.conv2d(x, kernel[:, None], None, 2 if encodes else 1, 1, 1, len(kernel))
        x = F.leaky_relu(F.conv2d(x, F.normalize(weight, dim=1)[:, :, None, None]), SLOPE)
        factor = MAGNITUDE / x.square().mean().sqrt()
        kernels.append(kernel * factor)
        x = x * factor
        if number < stages - 1:
            maps.append(x)
        elif not encodes and len(maps) > 1:
            x = torch.cat([x, maps.pop()], 1)
    return kernels


def read_out(block: KernelBlock, kernels: Tensor, identity_share: float) -> None:
    """Set the readout of one link of a prediction chain so that it answers `kernels`, (C, k, k), to everybody.

    The biases of the link's BatchNorm put one and the same map on the whole grid; the readout is the smallest that
    makes the kernels of it. What the identity adds to that map is read by random kernels that do not see the
    constant part.
    identity_share: magnitude of what they add, relative to the kernels.
    """
    with torch.no_grad():
        constant = F.leaky_relu(block.norm.bias, SLOPE)
        direction = F.normalize(constant, dim=0)
        taps = _taps(kernels) / constant.norm()
        noise = torch.randn_like(block.readout.weight)
        noise -= torch.einsum("ocij,c->oij", noise, direction)[:, None] * direction[:, None, None]
        spread = block.norm.weight.square() * torch.where(block.norm.bias > 0, 1.0, SLOPE**2)
        added = (6 * spread.sum()).sqrt().clamp_min(1e-6)
        noise *= identity_share * kernels.square().mean().sqrt() / added
        block.readout.weight.copy_(taps[:, None] * direction[:, None, None] + noise)
        block.readout.bias.zero_()


def _taps(kernels: Tensor) -> Tensor:
    """The 3x3 convolution, (C, 3, 3), that makes (C, k, k) of a grid of ones with zero padding."""
    solve = torch.linalg.pinv(_reach(kernels.shape[-1]))
    return solve @ kernels @ solve.T


def _reach(side: int) -> Tensor:
    """(side, 3): which taps of a 3-tap filter lie on the grid at each place."""
    places = torch.arange(side)[:, None] + torch.arange(-1, 2)
    return ((places >= 0) & (places < side)).float()


def _smooth_pictures(n: int, size: int) -> Tensor:
    """Random pictures, (n, 3, size, size), in about [-1, 1]: coarse shapes strong, fine ones weak."""
    octaves = []
    for side in (4, 8, 16, 32, 64, 128):
        noise = torch.randn(n, 3, side, side) / side**0.5
        octaves.append(F.interpolate(noise, size, mode="bilinear", align_corners=False))
    picture = sum(octaves)
    return 0.5 * picture / picture.square().mean().sqrt()
