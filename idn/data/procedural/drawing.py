"""Drawing primitives: bumps, ovals, soft edges, alpha blending, colour palettes.

Fields are (N, H, W), colours (N, 3, 1, 1) in linear light.
"""

import torch
from torch import Tensor

Palette = tuple[tuple[int, int, int], ...]

SKIN: Palette = ((245, 212, 190), (234, 188, 158), (212, 158, 122), (168, 112, 78), (122, 80, 57), (88, 57, 43))
IRIS: Palette = ((58, 34, 20), (104, 66, 34), (128, 104, 52), (84, 128, 84), (84, 134, 176), (146, 158, 164))
HAIR: Palette = (
    (16, 14, 15),
    (34, 25, 22),
    (62, 42, 31),
    (104, 64, 38),
    (136, 68, 34),
    (194, 148, 88),
    (168, 166, 164),
)
LIPS: Palette = ((186, 116, 102), (202, 98, 100), (170, 46, 56), (122, 48, 72), (112, 66, 52))


def bump(q: Tensor) -> Tensor:
    """A smooth hill: 1 where q is 0, 0 from q = 1 on. q: squared distance over squared radius."""
    return (1 - q).clamp_min_(0).square_()


def oval(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """The squared distance that `bump` wants, for an ellipse of these half axes around the origin."""
    return (x / width).square_() + (y / height).square_()


def edge(distance: Tensor, width: Tensor | float) -> Tensor:
    """Coverage in [0, 1] from a signed distance (inside positive), over an edge of this width."""
    return (distance / width + 0.5).clamp_(0, 1)


def smooth(t: Tensor) -> Tensor:
    """0 to 1 with flat ends as t goes from 0 to 1."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def over(image: Tensor, color: Tensor, alpha: Tensor) -> None:
    """Paint in place. image: (N, 3, H, W); color: broadcastable to it; alpha: (N, H, W) in [0, 1]."""
    image.lerp_(color, alpha.unsqueeze(1))


def palette(colors: Palette, tone: Tensor) -> Tensor:
    """Linear colour at `tone`, (N, 1, 1) in [0, 1], along a palette of sRGB bytes: (N, 3, 1, 1)."""
    table = tone.new_tensor(colors).div_(255).square_()
    place = tone.flatten() * (len(colors) - 1)
    below = place.floor().clamp(0, len(colors) - 2).long()
    mixed = torch.lerp(table[below], table[below + 1], (place - below).unsqueeze(1))
    return mixed[:, :, None, None]
