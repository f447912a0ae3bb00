"""High-pass detail (correlation, sharpness) and discs around eyes and mouth; RGB in [0, 1], (N, 3, S, S)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.images import luma

SIGMA = 2 / 96
"""Of the Gaussian that detail is what remains of, as a share of the picture's side: 2 px at 96 px."""
_NOTHING = 1e-12
"""Mean square of a high-pass image that is no more than rounding errors."""
_TRUNCATE = 4
"""How many sigmas the Gaussian reaches."""
_INSET = 1.5
"""How many sigmas from the face's edge detail begins to count: the outline that swap and target share is no detail of
a person, and a seam along it none either."""
_DISC = 0.4
"""Radius of a disc, in units of the face: a disc holds an eye with its brow, or the mouth."""


def high_pass(images: Tensor) -> Tensor:
    """Luma minus its Gaussian blur of `SIGMA`: (N, 3, S, S) -> (N, 1, S, S), about 0 where a picture is smooth."""
    from kornia.filters import gaussian_blur2d  # takes seconds to import: validations need it, no step does

    grey, sigma = luma(images), SIGMA * images.shape[-1]
    side = 2 * int(_TRUNCATE * sigma + 0.5) + 1
    return grey - gaussian_blur2d(grey, (side, side), (sigma, sigma))


def detail_correlation(swap: Tensor, answer: Tensor, face: Tensor) -> Tensor:
    """Pearson correlation of the high-pass images inside the face, (N,) in [-1, 1]: is the detail in its place?

    Detail at other places, and smears, lower it however strong they are. 0 for a swap without any detail.
    swap, answer: (N, 3, S, S). face: (N, 1, S, S) in [0, 1]; its outermost 3 px of 96 do not count. A sample of which
    nothing is left gives NaN, and so does an answer without any detail.
    """
    weights = inset(face)
    weights = weights / weights.sum((1, 2, 3), keepdim=True)
    a, b = (part - (weights * part).sum((1, 2, 3), keepdim=True) for part in (high_pass(swap), high_pass(answer)))
    together, own, its = ((weights * x * y).sum((1, 2, 3)) for x, y in ((a, b), (a, a), (b, b)))
    return together / own.clamp_min(_NOTHING).sqrt() / its.where(its > _NOTHING, math.nan).sqrt()


def sharpness_ratio(swap: Tensor, answer: Tensor, face: Tensor) -> Tensor:
    """Root mean square of the swap's high-pass image over that of the answer, inside the face, (N,), 0 or more.

    1 where both hold equally much detail, below for a blurred swap. Smears raise it, too: it describes, and is nothing
    to maximise. Arguments and NaN as in `detail_correlation`.
    """
    weights = inset(face)
    weights = weights / weights.sum((1, 2, 3), keepdim=True)
    power, wanted = ((high_pass(part).square() * weights).sum((1, 2, 3)) for part in (swap, answer))
    return (power / wanted.where(wanted > _NOTHING, math.nan)).sqrt()


def inset(face: Tensor) -> Tensor:
    """(N, 1, S, S) in [0, 1] -> the same without the outermost 3 px of 96, where a blur sees beyond the face."""
    reach = round(_INSET * SIGMA * face.shape[-1])
    side = 2 * reach + 1
    rows = F.max_pool2d(1 - face, (side, 1), stride=1, padding=(reach, 0))  # a square's largest is that of its rows'
    return 1 - F.max_pool2d(rows, (1, side), stride=1, padding=(0, reach))


def feature_discs(landmarks: Tensor, size: int) -> Tensor:
    """Discs around both eyes and the mouth, (N, 1, size, size), 1 inside and 0 outside; empty for NaN landmarks.

    landmarks: (N, 5, 2) in normalised coordinates: eyes, nose tip, mouth corners. The radius is 0.4 of the distance
    between the eyes, or of that from there to the mouth where a turned head shortens the other.
    """
    mouth = landmarks[:, 3:].mean(1, keepdim=True)
    centres = torch.cat([landmarks[:, :2], mouth], 1)
    across = (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1)
    down = (landmarks[:, :2].mean(1) - mouth[:, 0]).norm(dim=1)
    radius = _DISC * torch.maximum(across, down)
    steps = (torch.arange(size, device=landmarks.device, dtype=landmarks.dtype) + 0.5) / size
    pixels = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).view(1, -1, 2)
    inside = (torch.cdist(pixels.expand(len(centres), -1, -1), centres) <= radius.view(-1, 1, 1)).any(2)
    return inside.view(-1, 1, size, size).to(landmarks)
