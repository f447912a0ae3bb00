"""Gaze without a network: where irises stand in their eyes, as the dark of the picture between 68 landmarks tells."""

import math

import torch
from torch import Tensor

from idn.geometry.warping import warp
from idn.images import luma

_EYES = (36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)
"""Corner, upper lid, corner and lower lid of both, in iBUG 300-W's order."""
_SIDE = 48
"""Pixels of the square, as wide as an eye, in which its iris is looked for."""
LEAST_WIDTH = 10
"""Pixels of an eye below which an iris has too few of its own."""
_LEAST_OPENING = 0.12
"""Distance of the lids over the width below which an eye counts as closed."""
_LEAST_CONTRAST = 0.02
"""Spread of the brightness between the lids below which nothing is seen there."""


def gaze_error(images: Tensor, landmarks: Tensor, others: Tensor, other_landmarks: Tensor) -> Tensor:
    """How far irises stand from where those of other pictures stand, in percent of the eye's width, (N,).

    Each iris counts in the frame of its own eye, so that place, tilt and size of a face are no gaze. The mean of the
    eyes that are open, large and plain enough in both pictures; NaN where none is.

    images, others: (N, 3, S, S) RGB in [0, 1].
    landmarks, other_landmarks: (N, 68, 2) in normalised coordinates.
    """
    mine, theirs = iris_places(images, landmarks), iris_places(others, other_landmarks)
    return 100 * (mine - theirs).norm(dim=2).nanmean(1)


def iris_places(images: Tensor, landmarks: Tensor) -> Tensor:
    """Where irises stand, from the middle between the corners of the eye, in widths of the eye: (N, 2, 2), the eye on
    the left of the picture first; x along the corners, y towards the mouth. NaN where it cannot be measured.

    Arguments as in `gaze_error`. The place is the mean of the dark between the lids, by the square of how much darker
    it is than the mean there.
    """
    return torch.stack([_place(images, landmarks[:, list(eye)].to(images)) for eye in _EYES], 1)


def _place(images: Tensor, eye: Tensor) -> Tensor:
    """(N, 2) of one eye. eye: (N, 6, 2)."""
    first, last = eye[:, 0], eye[:, 3]
    across = last - first
    width = across.norm(dim=1)
    turn = torch.stack([across, torch.stack([-across[:, 1], across[:, 0]], 1)], 1) / width.square()[:, None, None]
    middle = (first + last) / 2
    seen = torch.cat([turn, 0.5 - turn @ middle[..., None]], 2)
    lids = (eye - middle[:, None]) @ turn.mT
    known = seen.isfinite().flatten(1).all(1)
    still = torch.eye(2, 3).to(seen)
    grey = luma(warp(images, torch.where(known[:, None, None], seen, still), _SIDE))[:, 0]
    grid = ((torch.arange(_SIDE, device=grey.device) + 0.5) / _SIDE - 0.5).to(grey)
    spots = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    inside = _between(spots, lids)
    count = inside.flatten(1).sum(1).clamp(min=1)
    mean = (grey * inside).flatten(1).sum(1) / count
    gap = (mean[:, None, None] - grey) * inside
    weight = gap.clamp(min=0).square()
    place = (weight[..., None] * spots).flatten(1, 2).sum(1) / weight.flatten(1).sum(1, keepdim=True)
    opening = (lids[:, [4, 5], 1].mean(1) - lids[:, [1, 2], 1].mean(1)).abs()
    spread = (gap.square().flatten(1).sum(1) / count).sqrt()
    plain = (
        known & (width * images.shape[-1] >= LEAST_WIDTH) & (opening >= _LEAST_OPENING) & (spread >= _LEAST_CONTRAST)
    )
    return torch.where(plain[:, None], place, math.nan)


def _between(spots: Tensor, lids: Tensor) -> Tensor:
    """(N, S, S) of 0 and 1: which spots, (S, S, 2), lie inside of convex outlines, (N, 6, 2), given clockwise."""
    edges = lids.roll(-1, 1) - lids
    to = spots[None, None] - lids[:, :, None, None]
    cross = edges[:, :, None, None, 0] * to[..., 1] - edges[:, :, None, None, 1] * to[..., 0]
    return (cross >= 0).all(1).to(spots)
