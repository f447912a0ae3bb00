"""Layers written out, for readings of AEI-Net that share no code with the networks they are compared with."""

import torch
from torch import Tensor


def norm(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    """BatchNorm in eval mode."""
    mean, var, scale, shift = (
        p[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def twice(x: Tensor) -> Tensor:
    """Bilinear with the corners kept, as a product with interpolation matrices."""

    def matrix(n: int) -> Tensor:
        place = torch.arange(2 * n, dtype=x.dtype) * (n - 1) / (2 * n - 1)
        return (1 - (place[:, None] - torch.arange(n, dtype=x.dtype)).abs()).clamp_min(0)

    return matrix(x.shape[2]) @ x @ matrix(x.shape[3]).T
