"""Seams: how much of each pixel of a swapped crop shows in the picture, and colours that match what surrounds it."""

from functools import cache

import torch
from torch import Tensor

from idn.geometry.templates import template_points

SOLID = 0.25
"""From this value of the mask on, the pixel of the crop replaces that of the picture; below, they are blended."""
FEATHER = 0.1
"""Width of the blended border of the crop, as a share of its side."""
_GAIN, _SHIFT = (0.8, 1.25), 0.1
"""Limits of what matching colours may do to contrast and brightness."""


def opacity(mask: Tensor | None, template: str, size: int) -> Tensor:
    """How much of the pixels of crops shows.

    mask: (N, 1, S, S) in [0, 1], 1 where the network put a face; None where it does not say, for the region in which
        faces of that template lie.
    Returns (N, 1, S, S), or (1, 1, S, S) without a mask, in [0, 1]: 0 at the outermost pixels, so that the crop leaves
    no edge, and 0 where the network changed nothing, so that the picture keeps its own sharpness there.
    """
    if mask is None:
        return _border(size) * _face_region(template, size)
    return _border(size).to(mask) * (mask / SOLID).clamp(0, 1)


@cache
def _border(size: int) -> Tensor:
    """(1, 1, size, size): 1 inside, falling to 0 over the outer tenth, as a smooth step without a visible beginning."""
    steps = torch.arange(size, dtype=torch.float32)
    inwards = (torch.minimum(steps, size - 1 - steps) / (FEATHER * size)).clamp(0, 1)
    smooth = inwards * inwards * (3 - 2 * inwards)
    return torch.minimum(smooth[:, None], smooth[None, :])[None, None]


@cache
def _face_region(template: str, size: int) -> Tensor:
    """(1, 1, size, size): 1 in an ellipse from above the brows to the chin, falling smoothly to 0 around it."""
    points = template_points(template).float()
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    unit = float((mouth - eyes).norm())
    x, y = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="xy")
    middle = eyes + 0.45 * (mouth - eyes)
    away = (((x - middle[0]) / (1.25 * unit)) ** 2 + ((y - middle[1]) / (1.55 * unit)) ** 2).sqrt()
    inwards = ((1 - away) / 0.3).clamp(0, 1)
    return (inwards * inwards * (3 - 2 * inwards))[None, None]


def matched(images: Tensor, targets: Tensor, share: Tensor) -> Tensor:
    """Swapped crops with the mean and the spread of brightness and colour that the targets have in the same place.

    images, targets: (N, 3, S, S) in [0, 1].
    share: (N, 1, S, S) or (1, 1, S, S) in [0, 1], where they are compared.
    Returns (N, 3, S, S) in [0, 1]. Contrast changes by a quarter at most, and brightness by a tenth, so that a face in
    other light than its mask says is not spoiled.
    """
    weight = share / share.sum((2, 3), keepdim=True).clamp_min(1e-6)
    (mean, spread), (wanted, width) = (_statistics(x, weight) for x in (images, targets))
    gain = (width / spread.clamp_min(1e-3)).clamp(*_GAIN)
    shift = (wanted - mean).clamp(-_SHIFT, _SHIFT)
    changed = (images - mean) * gain + mean + shift
    return torch.where(share.sum((2, 3), keepdim=True) > 1, changed, images).clamp(0, 1)


def _statistics(images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation by channel, (N, 3, 1, 1) each."""
    mean = (images * weight).sum((2, 3), keepdim=True)
    return mean, ((images - mean).square() * weight).sum((2, 3), keepdim=True).sqrt()
