"""The identity as one vector, and the two networks around it: one that writes it and one that obeys it.

With the modulation folded into the depthwise kernels (`fold`), these kernels are all that an identity changes in the
IDN, but for two factors that no depthwise kernel reads. The vector holds, in this order:

- the folded depthwise kernels of the nine pairs, in the order of DynamicWeights, each (C_in, k, k) row by row;
- the demodulation of the last encoder pair, which the fusion module needs;
- the demodulation of the last decoder pair, which the head needs.

That makes 20,944 numbers at width 1.
"""

import copy
from collections.abc import Iterator
from functools import reduce
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.images import to_pm1
from idn.students.deployment import example
from idn.students.mobilefaceswap.dynamic import fold
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.injection import SLOPE
from idn.students.mobilefaceswap.layout import Layout
from idn.students.mobilefaceswap.network import STRIDE, double
from idn.students.mobilefaceswap.static_graph import Ending
from idn.types import Network

if TYPE_CHECKING:
    from idn.students.mobilefaceswap.student import Student


def identity_shapes(layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Shapes of the parts of an identity, in their order."""
    sides = [4] * (len(layout.encoder) - 1) + [3] * len(layout.decoder)
    kernels = ((c_in, k, k) for (c_in, _), k in zip(layout.pairs, sides, strict=True))
    return *kernels, (layout.encoder[-1],), (layout.decoder[-1],)


def pack(weights: DynamicWeights) -> Tensor:
    """N identities as vectors, (N, L), in the order that this module documents."""
    stages = len(weights.depthwise) // 2 + 1
    kernels = [kernel.flatten(1) for kernel in fold(weights)]
    return torch.cat([*kernels, weights.demodulation[stages - 1], weights.demodulation[-1]], 1)


class InjectionGraph(nn.Module):
    """Writes identities: once per source."""

    def __init__(self, student: "Student") -> None:
        super().__init__()
        self.injection = copy.deepcopy(student.injection)

    def forward(self, embedding: Tensor, features: Tensor) -> tuple[Tensor]:
        """embedding: (N, D), L2-normalised; features: (N, C, s, s), of the same pass. Returns the identities (N, L)."""
        return (pack(self.injection(embedding, features)),)


class Shrink(nn.Module):
    """An encoder pair whose depthwise kernels are an input. weight: of the pointwise convolution, (C_out, C_in)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.channels = weight.shape[1]
        self.weight = nn.Parameter(weight.detach()[:, :, None, None].clone())

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """x: (1, C_in, H, W); kernels: (C_in, 4, 4). Returns (1, C_out, H / 2, W / 2)."""
        x = F.conv2d(x, kernels.unsqueeze(1), stride=2, padding=1, groups=self.channels)
        return F.leaky_relu(F.conv2d(x, self.weight), SLOPE)


class Grow(Shrink):
    """A decoder pair whose depthwise kernels are an input. weight: of the pointwise convolution, (C_out, C_in)."""

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """x: (1, C_in, H, W); kernels: (C_in, 3, 3). Returns (1, C_out, 2 H, 2 W)."""
        x = F.conv2d(double(x), kernels.unsqueeze(1), padding=1, groups=self.channels)
        return F.leaky_relu(F.conv2d(x, self.weight), SLOPE)


class ShrinkByTaps(nn.Module):
    """As Shrink, by multiplications and additions: no convolution has an input for a kernel.

    The pixels of each 2 x 2 block become channels, so that the taps of a kernel with stride 2 lie in four neighbouring
    blocks. The sum over the pixels of a block is left to the pointwise convolution.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().repeat_interleave(4, 1)[:, :, None, None])

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """x: (1, C_in, H, W); kernels: (C_in, 4, 4). Returns (1, C_out, H / 2, W / 2)."""
        x = F.pixel_unshuffle(F.pad(x, (1, 1, 1, 1)), 2)
        return F.leaky_relu(F.conv2d(reduce(torch.add, self._terms(x, kernels)), self.weight), SLOPE)

    def _terms(self, x: Tensor, kernels: Tensor) -> Iterator[Tensor]:
        height, width = x.shape[2] - 1, x.shape[3] - 1
        for row, column in product(range(2), repeat=2):
            taps = kernels[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(1, -1, 1, 1)
            yield taps * x[:, :, row : row + height, column : column + width]


class GrowByTaps(nn.Module):
    """As Grow, by multiplications and additions: no convolution has an input for a kernel.

    A tap of a depthwise convolution is a shift and one factor per channel. The factors and the pointwise convolution
    commute with the upsampling and the shift, so both work on the small map, once per tap, and the large maps that are
    shifted and added have only C_out channels.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach()[:, :, None, None].clone())

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        """x: (1, C_in, H, W); kernels: (C_in, 3, 3). Returns (1, C_out, 2 H, 2 W)."""
        total = reduce(torch.add, self._terms(x, kernels))
        return F.leaky_relu(total[:, :, 1:-1, 1:-1], SLOPE)

    def _terms(self, x: Tensor, kernels: Tensor) -> Iterator[Tensor]:
        for row, column in product(range(3), repeat=2):
            tap = kernels[:, row : row + 1, column : column + 1].reshape(1, -1, 1, 1)
            yield F.pad(double(F.conv2d(tap * x, self.weight)), (2 - column, column, 2 - row, row))


class DynamicGraph(nn.Module):
    """Obeys an identity: once per frame.

    runtime_kernels: whether the runtime has convolutions whose kernels are an input. For one that has not, each
    depthwise convolution becomes multiplications and additions. blocks: as for `rewrite` of static_graph.
    """

    def __init__(self, student: "Student", runtime_kernels: bool, blocks: bool = True) -> None:
        super().__init__()
        dim, channels, side = student.injection.expected
        weights = [module.weight for module in student.injection.modulation]
        anybody = student.bake(weights[0].new_zeros(1, dim), weights[0].new_zeros(1, channels, side, side))
        shrink, grow = (Shrink, Grow) if runtime_kernels else (ShrinkByTaps, GrowByTaps)
        stages = student.idn.stages
        self.encoder = nn.ModuleList(shrink(weight) for weight in weights[:stages])
        self.decoder = nn.ModuleList(grow(weight) for weight in weights[stages:])
        self.ending = Ending(anybody, blocks)
        self.shapes = identity_shapes(Layout.of(student.config["width"]))

    def forward(self, target: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """target: (1, 3, S, S) RGB in [0, 1], S % 32 == 0; identity: (1, L), as `pack` makes it.

        Returns image (1, 3, S, S) and mask (1, 1, S, S), in [0, 1]. Nothing is checked, so that tracers see no branch.
        """
        *kernels, encoded, decoded = self._parts(identity)
        x = to_pm1(target)
        maps = []
        for pair, kernel in zip(self.encoder, kernels[: len(self.encoder)], strict=True):
            x = pair(x, kernel)
            maps.append(x)
        deepest = maps.pop() * encoded.reshape(1, -1, 1, 1)
        for pair, kernel in zip(self.decoder, kernels[len(self.encoder) :], strict=True):
            x = pair(x, kernel)
            if len(maps) > 1:
                x = torch.cat([x, maps.pop()], 1)
        return self.ending(target, deepest, x * decoded.reshape(1, -1, 1, 1))

    def _parts(self, identity: Tensor) -> list[Tensor]:
        ends = accumulate((torch.Size(shape).numel() for shape in self.shapes), initial=0)
        spans = zip(pairwise(ends), self.shapes, strict=True)
        return [identity[:, start:end].reshape(shape) for (start, end), shape in spans]


def dynamic(student: "Student", size: int, runtime_kernels: bool, blocks: bool = True) -> tuple[Network, Network]:
    """The networks "injection" (embedding, features -> identity) and "swap" (target, identity -> image, mask).

    size: of the targets, in pixels. runtime_kernels, blocks: as for DynamicGraph.
    """
    dim, channels, side = student.injection.expected
    embedding = F.normalize(example(1, dim) - 0.5)
    features = example(1, channels, side, side)
    injection = InjectionGraph(student).requires_grad_(False).eval()
    swap = DynamicGraph(student, runtime_kernels, blocks).requires_grad_(False).eval()
    inputs = {"target": example(1, 3, size, size), "identity": injection(embedding, features)[0]}
    outputs = ("image", "mask")
    return (
        Network("injection", injection, {"embedding": embedding, "features": features}, ("identity",)),
        Network("swap", swap, inputs, outputs, True, STRIDE, shared=("identity",), delicate=("mask",)),
    )
