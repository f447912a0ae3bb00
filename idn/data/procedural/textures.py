"""Noise textures: fixed tiles that skin, hair and sensor take their grain from, drawn once from a constant seed."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 256
GRAIN = 1024
SEED = 20220103


def _smooth_noise(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Uniform noise on a coarse grid, (h, w), as a (TILE, TILE) field of mean 0."""
    coarse = torch.rand(1, 1, *shape, generator=generator) - 0.5
    return F.interpolate(coarse, (TILE, TILE), mode="bicubic", align_corners=False)[0, 0]


def _strands(generator: torch.Generator) -> Tensor:
    """Long vertical fibres in three widths, roughly in [-1, 1]."""
    parts = [_smooth_noise((rows, columns), generator) for rows, columns in ((3, 24), (4, 56), (6, 120))]
    return 1.1 * parts[0] + 0.9 * parts[1] + 0.8 * parts[2]


def _spots(generator: torch.Generator, count: int = 420) -> Tensor:
    """Round spots on 0; their peaks spread over (0, 1], so that a threshold picks some of them."""
    ticks = torch.arange(TILE, dtype=torch.float32)
    place = torch.rand(count, 2, generator=generator) * TILE
    radius = 1.7 + 1.5 * torch.rand(count, 1, generator=generator)
    rows = torch.exp(-(((ticks - place[:, :1]) / radius) ** 2))
    columns = torch.exp(-(((ticks - place[:, 1:]) / radius) ** 2))
    peaks = torch.linspace(0.05, 1, count).view(-1, 1, 1)
    return (peaks * rows.unsqueeze(2) * columns.unsqueeze(1)).amax(0)


def _mottle(generator: torch.Generator) -> Tensor:
    """Uneven skin, roughly in [-1, 1]."""
    return sum(weight * _smooth_noise((n, n), generator) for n, weight in ((10, 0.8), (28, 0.8), (90, 0.9)))


@cache  # a run has a renderer for training and one for validation
def _tiles() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The attributes of `Textures`, in their order, on the CPU."""
    generator = torch.Generator().manual_seed(SEED)
    strands = _strands(generator)[None, None]
    skin = torch.stack([_spots(generator), _mottle(generator)])[None]
    blobs = (2 * _smooth_noise((16, 16), generator))[None, None]
    return strands, skin, blobs, torch.randn(GRAIN, GRAIN, generator=generator)


class Textures:
    """The tiles, on the device where they were last asked for."""

    strands: Tensor
    """(1, 1, TILE, TILE)"""
    skin: Tensor
    """(1, 2, TILE, TILE): spots in [0, 1], mottle in about [-1, 1]."""
    blobs: Tensor
    """(1, 1, TILE, TILE): soft shapes in about [-1, 1]."""
    grain: Tensor
    """(GRAIN, GRAIN): white noise of standard deviation 1."""

    def __init__(self) -> None:
        """Draw the tiles, if this is the first time."""
        self.strands, self.skin, self.blobs, self.grain = _tiles()

    def to(self, device: torch.device) -> "Textures":
        """Move the tiles if they are elsewhere."""
        for name, tile in vars(self).items():
            setattr(self, name, tile.to(device))
        return self


def sample(tile: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Look up tiles at (N, H, W) coordinates: (N, C, H, W), mirrored beyond [-1, 1]."""
    grid = torch.stack([x, y], 3)
    wide = tile.expand(len(grid), -1, -1, -1)
    return F.grid_sample(wide, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
