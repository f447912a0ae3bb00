"""Crops in YUV planes: cutting faces out of decoded frames and pasting them back, without converting whole frames.

What no face covers keeps every bit. Positions are continuous pixels of brightness: pixel i spans i to i + 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idn.geometry.affine import invert_affine, transform_points
from idn.geometry.warping import reach, sample
from idn.images import resize
from idn.video.pixel_formats import PLANAR
from idn.video.reading import VideoInfo

_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""FFmpeg's number of a matrix -> shares of red and blue in brightness; Rec. 601 for others."""
_ALIKE = (slice(0, 1), slice(1, 3))
"""Planes of one size: brightness, and both of colour."""
_HD = 720
"""Lines from which pictures that do not say it are taken for Rec. 709."""


@dataclass(frozen=True)
class Colours:
    """How the numbers of planes are meant."""

    across: int
    down: int
    bits: int
    red: float
    blue: float
    full: bool
    left: bool

    @staticmethod
    def of(info: VideoInfo, pixel_format: str) -> "Colours":
        """Those of a video whose planes are of a format of PLANAR."""
        matrix, span = info.colours[:2]
        usual = _LUMA[1] if info.height >= _HD and matrix in (0, 2) else (0.299, 0.114)
        full = span == 2 or pixel_format.startswith(("yuvj", "gray") if span == 0 else "yuvj")
        return Colours(*PLANAR[pixel_format], *_LUMA.get(matrix, usual), full, info.chroma_left)

    @cached_property
    def to_rgb(self) -> tuple[Tensor, Tensor]:
        """(3, 3) and (3,): RGB in [0, 1] is the first, times the numbers of Y, U and V, plus the second."""
        matrix = torch.linalg.inv(self._from_rgb[0])
        return matrix, -(matrix @ self._from_rgb[1])

    @cached_property
    def _from_rgb(self) -> tuple[Tensor, Tensor]:
        red, blue, unit = self.red, self.blue, float(2 ** (self.bits - 8))
        green = 1 - red - blue
        brightness = torch.tensor([red, green, blue], dtype=torch.float64)
        u = (torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - brightness) / (2 * (1 - blue))
        v = (torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) - brightness) / (2 * (1 - red))
        top = 2.0**self.bits - 1
        black, y, c = (0.0, top, top) if self.full else (16 * unit, 219 * unit, 224 * unit)
        return torch.stack([brightness * y, u * c, v * c]), brightness.new_tensor([black, 128 * unit, 128 * unit])

    def rgb(self, yuv: Tensor) -> Tensor:
        """(3, H, W) numbers of Y, U and V -> RGB in [0, 1]."""
        matrix, shift = self.to_rgb
        return (torch.einsum("ij,jhw->ihw", matrix.to(yuv), yuv) + shift.to(yuv)[:, None, None]).clamp(0, 1)

    def yuv(self, rgb: Tensor) -> Tensor:
        """The way back."""
        matrix, shift = self._from_rgb
        return torch.einsum("ij,jhw->ihw", matrix.to(rgb), rgb) + shift.to(rgb)[:, None, None]

    def plane(self, index: int) -> Tensor:
        """(2, 3) float64: from pixels of brightness to those of a plane."""
        if index == 0:
            return torch.eye(2, 3, dtype=torch.float64)
        shift = 0.5 / self.across if self.left and self.across > 1 else 0.0
        return torch.tensor([[1 / self.across, 0, shift], [0, 1 / self.down, 0]], dtype=torch.float64)


def cut(planes: list[NDArray[np.generic]], colours: Colours, onto: Tensor, size: int) -> Tensor:
    """Cut a crop out of planes, averaging where that shrinks it; beyond the picture its border is repeated.

    onto: (2, 3) float64, from pixels of brightness to those of the crop.
    Returns (3, size, size) RGB in [0, 1].
    """
    layers = [_cut(planes[part], _joined(onto, invert_affine(colours.plane(part.start))), size) for part in _ALIKE]
    if len(planes) == 1:
        layers[1] = torch.full_like(layers[0], 2.0 ** (colours.bits - 1)).expand(2, -1, -1)
    return colours.rgb(torch.cat(layers))


def _cut(planes: list[NDArray[np.generic]], onto: Tensor, size: int) -> Tensor:
    """(K, size, size) of K planes of one size. onto: from pixels of the planes to those of the crop."""
    if not planes:
        return torch.empty(0, size, size)
    height, width = planes[0].shape
    left, top, right, bottom = reach(onto, size, width, height)
    left, top = max(0, min(left - 2, width - 4)), max(0, min(top - 2, height - 4))
    right, bottom = min(width, max(right + 2, left + 4)), min(height, max(bottom + 2, top + 4))
    part = torch.from_numpy(np.stack([plane[top:bottom, left:right] for plane in planes]).astype(np.float32))[None]
    back = invert_affine(onto)
    h, w = bottom - top, right - left
    shrink = float(back[:, 0].norm())
    if shrink > 1.5:
        part = resize(part, (max(1, round(h / shrink)), max(1, round(w / shrink))))
    extent = back.new_tensor((w, h))
    start = back.new_tensor((left, top))
    normal = torch.cat([back[:, :2] * size / extent[:, None], ((back[:, 2] - start) / extent)[:, None]], 1)
    return sample(part, normal, (size, size), "border")[0]


def paste(planes: list[NDArray[np.generic]], colours: Colours, image: Tensor, share: Tensor, onto: Tensor) -> None:
    """Put a crop into planes, in place.

    image: (3, S, S) RGB in [0, 1].
    share: (1, S, S) in [0, 1], how much of it shows.
    onto: (2, 3) float64, from pixels of brightness to those of the crop.
    """
    numbers = colours.yuv(image)
    for part in _ALIKE[: len(planes)]:
        layers = torch.cat([numbers[part], share])
        _paste(planes[part], layers, _joined(onto, invert_affine(colours.plane(part.start))), 2**colours.bits - 1)


def _paste(planes: list[NDArray[np.generic]], layers: Tensor, onto: Tensor, most: int) -> None:
    """layers: (K + 1, S, S), numbers of K planes of one size, and a share. onto: from pixels of planes to the crop."""
    size, (height, width) = layers.shape[-1], planes[0].shape
    shrink = float(onto[:, 0].norm())
    full = resize(layers[None], max(1, round(size / shrink))) if shrink > 1.5 else layers[None]
    least = 0.5 / most
    x, y, side = _shown(full[0, -1], least)
    small = full[..., y : y + side, x : x + side]
    onto = onto * (full.shape[-1] / size) - onto.new_tensor([[0, 0, x], [0, 0, y]])
    left, top, right, bottom = reach(onto, side, width, height)
    if right <= left or bottom <= top:
        return
    corner = transform_points(onto.new_tensor([[left, top]]), onto)[0]
    extent = onto.new_tensor((right - left, bottom - top))
    normal = torch.cat([onto[:, :2] * extent / side, (corner / side)[:, None]], 1)
    *values, share = sample(small, normal, (bottom - top, right - left), "border")[0]
    if bool((_rim(small[0, -1]) > least).any()):  # where the crop shows up to its edge, nothing is repeated beyond it
        share = share * (sample(torch.ones_like(small[:, :1]), normal, share.shape, "zeros")[0, 0] > 0)
    for plane, value in zip(planes, values, strict=True):
        region = plane[top:bottom, left:right]
        mixed = torch.from_numpy(region.astype(np.float32)).lerp_(value, share).round_().clamp_(0, most)
        np.copyto(region, mixed.numpy(), casting="unsafe")


def _shown(share: Tensor, least: float) -> tuple[int, int, int]:
    """Left, top and side of the smallest square of (S, S) with all shares above `least`, and one pixel around it.

    What lies below moves no number of a plane by half of one. Of nothing, the square is one pixel.
    """
    seen = share > least
    columns, rows = (torch.nonzero(seen.any(axis)).flatten().tolist() or [0] for axis in (0, 1))
    size, left, top = share.shape[-1], columns[0] - 1, rows[0] - 1
    side = min(size, max(columns[-1] - left, rows[-1] - top) + 2)
    return max(0, min(left, size - side)), max(0, min(top, size - side)), side


def _rim(share: Tensor) -> Tensor:
    """(4, S): the outermost pixels of (S, S)."""
    return torch.stack([share[0], share[-1], share[:, 0], share[:, -1]])


def _joined(last: Tensor, first: Tensor) -> Tensor:
    """The affine map that does `first`, then `last`; (2, 3) all."""
    return torch.cat([last[:, :2] @ first[:, :2], last[:, :2] @ first[:, 2:] + last[:, 2:]], 1)
