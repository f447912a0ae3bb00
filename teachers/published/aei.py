"""What the re-implementations of FaceShifter's AEI-Net have in common (arXiv:1912.13457).

An attribute pyramid folds the target down to 2 px and unfolds it again; a generator starts from the identity at 2 px
and doubles its size seven times, denormalising at every scale by the pyramid's map and by the identity.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import UnfitTensors

SIZE = 256
"""Pixels: seven doublings of the 2 px that a generator starts with."""
DOWN = (32, 64, 128, 256, 512, 1024, 1024)
"""Channels after each halving of the published pyramids."""
UP = (1024, 512, 256, 128, 64, 32)
"""Channels after each of its doublings, before the skip joins."""
WIDTHS = (1024, 1024, 1024, 1024, 512, 256, 128, 64)
"""Channels that enter each block of the published generators, from 2 px to 256 px. The last block leaves RGB."""


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W): bilinear, corner pixels stay where they are."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def halving(c_in: int, c_out: int, bias: bool) -> nn.Sequential:
    """(N, c_in, 2H, 2W) -> (N, c_out, H, W): convolution, BatchNorm, LeakyReLU 0.1, with keys 0 and 1."""
    conv = nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.1, inplace=True))


def doubling(c_in: int, c_out: int, bias: bool, names: tuple[str, str]) -> nn.Sequential:
    """(N, c_in, H, W) -> (N, c_out, 2H, 2W): transposed convolution, BatchNorm, LeakyReLU 0.1, the first two named."""
    conv = nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1, bias=bias)
    layers = (conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.1, inplace=True))
    return nn.Sequential(OrderedDict(zip((*names, "activation"), layers, strict=True)))


def concatenate(x: Tensor, skip: Tensor) -> Tensor:
    """Two maps of one size behind each other: the skip of a U-Net."""
    return torch.cat((x, skip), 1)


def pyramid(
    target: Tensor,
    down: Iterable[nn.Module],
    up: Iterable[nn.Module],
    join: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """The attribute maps of (N, 3, 256, 256) targets, from 2 px to 256 px.

    down: layers that halve. up: one layer fewer, that double; `join` brings in the map that `down` made at that size.
    The last map is the one before it, doubled.
    """
    folded = [target]
    for layer in down:
        folded.append(layer(folded[-1]))
    maps = [folded[-1]]
    for layer, skip in zip(up, folded[-2:0:-1], strict=True):
        maps.append(join(layer(maps[-1]), skip))
    return [*maps, double(maps[-1])]


def denormalise(h: Tensor, mask: Tensor, attributes: tuple[Tensor, Tensor], identity: tuple[Tensor, Tensor]) -> Tensor:
    """(1 - mask) * (gamma_a * h + beta_a) + mask * (gamma_i * h + beta_i) (arXiv:1912.13457, section 3.2).

    h: (N, C, H, W), normalised. mask: (N, C or 1, H, W) in [0, 1], 1 where the identity decides.
    attributes: gamma_a and beta_a, (N, C, H, W) each. identity: gamma_i and beta_i, (N, C) each.
    """
    gamma_a, beta_a = attributes
    gamma_i, beta_i = (vector[:, :, None, None] for vector in identity)
    return (1 - mask) * (gamma_a * h + beta_a) + mask * (gamma_i * h + beta_i)


def generate(h: Tensor, blocks: Iterable[nn.Module], maps: Sequence[Tensor], identity: Tensor) -> Tensor:
    """Walk (N, C, 2, 2) up to (N, 3, 256, 256): one block per attribute map, doubling between them."""
    for level, (block, attributes) in enumerate(zip(blocks, maps, strict=True)):
        h = block(double(h) if level else h, attributes, identity)
    return h


def check_inputs(target: Tensor, identity: Tensor, length: int) -> None:
    """Raise ValueError unless target is (N, 3, 256, 256) and identity (N, length)."""
    expected = (len(target), 3, SIZE, SIZE), (len(target), length)
    found = tuple(target.shape), tuple(identity.shape)
    if found != expected:
        raise ValueError(
            f"target and identity: expected {expected[0]} and {expected[1]}, got {found[0]} and {found[1]}"
        )


def width(tensors: Mapping[str, Tensor], key: str, axis: int, file: str) -> int:
    """How long one axis of a tensor is: channel counts are read from a file, never assumed.

    Raises UserError that names the key and `file` if the tensor or its axis is not there.
    """
    if key not in tensors or tensors[key].ndim <= axis:
        sentence = f"{file} holds no tensor {key} with {axis + 1} axes: choose the complete file of this network"
        raise UnfitTensors(sentence, missing=[key])
    return tensors[key].shape[axis]


def repeats(tensors: Mapping[str, Tensor], pattern: str) -> Counter[str]:
    """How many layers a file holds: `pattern` matches the beginning of their keys with two groups, and counted is, for
    each value of the first group, how many values the second one takes."""
    layers = {match.groups() for match in (re.match(pattern, key) for key in tensors) if match}
    return Counter(first for first, _ in layers)
