"""Affine maps, (..., 2, 3): similarity fits, inverses, and where points go."""

import torch
from torch import Tensor


def fit_similarity(points: Tensor, onto: Tensor) -> Tensor:
    """Least-squares similarity (rotation, uniform scale, shift; no reflection) that maps `points` onto `onto`.

    points, onto: (..., K, 2). Returns (..., 2, 3). In two dimensions the fit is closed-form (Umeyama 1991). It is not
    finite where all `points` coincide, and has no inverse where no rotation brings them any nearer to `onto`.
    """
    mean_p, mean_o = points.mean(-2, keepdim=True), onto.mean(-2, keepdim=True)
    p, o = points - mean_p, onto - mean_o
    norm = p.square().sum((-1, -2))
    a = (p * o).sum((-1, -2)) / norm
    b = (p[..., 0] * o[..., 1] - p[..., 1] * o[..., 0]).sum(-1) / norm
    linear = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    shift = mean_o.mT - linear @ mean_p.mT
    return torch.cat([linear, shift], -1)


def invert_affine(matrix: Tensor) -> Tensor:
    """Inverse of (..., 2, 3) affine maps, as (..., 2, 3)."""
    linear = torch.linalg.inv(matrix[..., :2])
    return torch.cat([linear, -linear @ matrix[..., 2:]], -1)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Apply (..., 2, 3) maps to (..., K, 2) points."""
    return points @ matrix[..., :2].mT + matrix[..., 2].unsqueeze(-2)


def in_pixels(matrix: Tensor, size_in: int, size_out: int) -> Tensor:
    """Maps between normalised coordinates of two squares, (..., 2, 3) -> the same between their pixel coordinates.

    size_in, size_out: sides in pixels of the squares that the maps come from and lead to.
    """
    return torch.cat([matrix[..., :2] * (size_out / size_in), matrix[..., 2:] * size_out], -1)
