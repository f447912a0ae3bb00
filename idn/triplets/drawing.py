"""Drawing on photographs: anti-aliased shapes, strokes, noise, shadows and layers. Fields are (S, S) or (1, S, S)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

_FINE = 3
"""Strokes are drawn this many times larger."""
_LEAST = 1.5 / 255
"""Cover below this is none: nobody could see it, and a region would spread."""


def cover(inside: Tensor, soft: float = 1.0) -> Tensor:
    """Anti-aliased coverage in [0, 1] of where a field is above 0, whatever its unit; `soft`: width of the edge, px."""
    wide = F.pad(inside[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    slope = torch.hypot(wide[1:-1, 2:] - wide[1:-1, :-2], wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2
    return (inside / (slope * soft + 1e-9) + 0.5).clamp(0, 1)


def smoothstep(t: Tensor) -> Tensor:
    """0 to 1 with flat ends as t goes from 0 to 1."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def bump(q: Tensor) -> Tensor:
    """A smooth hill: 1 where q is 0, and 0 with its slope from q = 1 on. q: squared distance over squared radius."""
    return (1 - q).clamp_min(0).square()


def blurred(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., S, S), the border repeated. Wide ones are computed on a reduced copy."""
    shape = field.shape
    image = field.reshape(1, -1, *shape[-2:])
    factor = max(1, int(sigma / 3))
    small = F.interpolate(image, scale_factor=1 / factor, mode="area") if factor > 1 else image
    sigma = sigma / factor
    half = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-half, half + 1, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * max(sigma, 1e-3) ** 2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    channels = small.shape[1]
    for turned in (False, True):
        line = kernel.mT if turned else kernel
        pad = (0, 0, half, half) if turned else (half, half, 0, 0)
        small = F.conv2d(F.pad(small, pad, mode="replicate").transpose(0, 1), line).transpose(0, 1)
    if factor > 1:
        small = F.interpolate(small, shape[-2:], mode="bilinear", align_corners=False)
    return small.reshape(*shape[:-2], *small.shape[-2:]) if channels else field


def noise(size: int, grain: float, draw: torch.Generator) -> Tensor:
    """(size, size) of smooth random values around 0 with a deviation of about 1. grain: pixels of a spot."""
    cells = max(2, round(size / max(grain, 1.0)))
    field = torch.randn(1, 1, cells, cells, generator=draw)
    return F.interpolate(field, (size, size), mode="bicubic", align_corners=False)[0, 0]


def polygon(size: int, points: Tensor) -> Tensor:
    """Coverage of a polygon, (size, size). points: (K, 2) in pixels."""
    canvas = Image.new("L", (size * _FINE, size * _FINE), 0)
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points * _FINE], fill=255)
    return _reduced(canvas)


def strokes(
    size: int, lines: Sequence[Tensor], widths: Sequence[float], tones: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Lines with round joints, later ones over earlier: tone where there is one, and coverage, (size, size) both.

    lines: (K, 2) each, in pixels.
    widths: in pixels.
    tones: in [0, 1], of each line.
    """
    tone = Image.new("L", (size * _FINE, size * _FINE), 0)
    alpha = Image.new("L", tone.size, 0)
    pens = ImageDraw.Draw(tone), ImageDraw.Draw(alpha)
    for line, width, value in zip(lines, widths, tones, strict=True):
        path = [tuple(point) for point in (line * _FINE).tolist()]
        for pen, fill in zip(pens, (round(255 * value), 255), strict=True):
            pen.line(path, fill=fill, width=max(1, round(width * _FINE)), joint="curve")
    shown = _reduced(alpha)
    only = _reduced(ImageChops.multiply(tone, alpha))  # premultiplied: the ground does not shine through at the edges
    return (only / shown.clamp_min(1e-3)).clamp(0, 1), shown


def _reduced(canvas: Image.Image) -> Tensor:
    """(size, size) in [0, 1] of a canvas that is larger."""
    return torch.from_numpy(np.array(canvas.reduce(_FINE))).float() / 255


def curve(start: Tensor, bend: Tensor, end: Tensor, steps: int = 8) -> Tensor:
    """A quadratic curve as (..., steps, 2) points. Three control points, (2,), or (..., 1, 2) for several curves."""
    t = torch.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def capsule(
    grid: tuple[Tensor, Tensor], start: Tensor, end: Tensor, radii: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Distance to the edge (inside positive) and place along the axis in [0, 1] of a tapering stick with round ends."""
    x, y = grid[0] - float(start[0]), grid[1] - float(start[1])
    way = (end - start).float()
    along = ((x * way[0] + y * way[1]) / way.square().sum().clamp_min(1e-6)).clamp(0, 1)
    radius = radii[0] + (radii[1] - radii[0]) * along
    return radius - torch.hypot(x - along * way[0], y - along * way[1]), along


class Canvas:
    """A picture that is painted on, and where it was: nothing outside of `region` differs."""

    def __init__(self, image: Tensor) -> None:
        """image: (3, S, S) in [0, 1]; it is not changed."""
        self.image = image.clone()
        self.region = image.new_zeros(image.shape[-2:])

    def paint(self, colour: Tensor, alpha: Tensor) -> None:
        """Lay a colour over it. colour: (3,) or (3, S, S); alpha: (S, S) in [0, 1]."""
        alpha = torch.where(alpha < _LEAST, torch.zeros_like(alpha), alpha)
        colour = colour.view(3, 1, 1) if colour.ndim == 1 else colour
        self.image = self.image + alpha * (colour.clamp(0, 1) - self.image)
        self.region = torch.maximum(self.region, alpha)

    def darken(self, alpha: Tensor) -> None:
        """A shadow: takes away this share of the light, (S, S) in [0, 1]."""
        alpha = torch.where(alpha < 2 * _LEAST, torch.zeros_like(alpha), alpha)
        self.image = self.image * (1 - alpha)
        self.region = torch.maximum(self.region, alpha)

    def shadow(self, shape: Tensor, move: tuple[float, float], sigma: float, strength: float) -> None:
        """The shadow of a shape, (S, S), moved by so many pixels and softened."""
        dx, dy = (round(v) for v in move)
        moved = torch.roll(shape, (dy, dx), (0, 1))
        if dy > 0:
            moved[:dy] = 0
        self.darken(strength * blurred(moved, sigma))
