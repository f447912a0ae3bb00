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
    layers = [_cut(plane, _joined(onto, invert_affine(colours.plane(i))), size) for i, plane in enumerate(planes)]
    if len(layers) == 1:
        middle = torch.full_like(layers[0], 2.0 ** (colours.bits - 1))
        layers += [middle, middle]
    return colours.rgb(torch.cat(layers))


def _cut(plane: NDArray[np.generic], onto: Tensor, size: int) -> Tensor:
    """(1, size, size). onto: from pixels of the plane to those of the crop."""
    height, width = plane.shape
    left, top, right, bottom = reach(onto, size, width, height)
    left, top = max(0, min(left - 2, width - 4)), max(0, min(top - 2, height - 4))
    right, bottom = min(width, max(right + 2, left + 4)), min(height, max(bottom + 2, top + 4))
    part = torch.from_numpy(plane[top:bottom, left:right].astype(np.float32))[None, None]
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
    layers = torch.cat([colours.yuv(image), share])
    for index, plane in enumerate(planes):
        _paste(plane, layers[[index, 3]], _joined(onto, invert_affine(colours.plane(index))), 2**colours.bits - 1)


def _paste(plane: NDArray[np.generic], layers: Tensor, onto: Tensor, most: int) -> None:
    """layers: (2, S, S), numbers and their share. onto: from pixels of the plane to those of the crop."""
    size, (height, width) = layers.shape[-1], plane.shape
    left, top, right, bottom = reach(onto, size, width, height)
    if right <= left or bottom <= top:
        return
    shrink = float(onto[:, 0].norm())
    small = resize(layers[None], max(1, round(size / shrink))) if shrink > 1.5 else layers[None]
    corner = transform_points(onto.new_tensor([[left, top]]), onto)[0]
    extent = onto.new_tensor((right - left, bottom - top))
    normal = torch.cat([onto[:, :2] * extent / size, (corner / size)[:, None]], 1)
    value, share = sample(small, normal, (bottom - top, right - left), "border")[0]
    inside = sample(torch.ones_like(small[:, :1]), normal, (bottom - top, right - left), "zeros")[0, 0]
    share = share * (inside > 0)
    region = plane[top:bottom, left:right]
    before = torch.from_numpy(region.astype(np.float32))
    mixed = torch.lerp(before, value, share).round().clamp(0, most)
    np.copyto(region, mixed.numpy().astype(plane.dtype), where=(share > 0).numpy())


def _joined(last: Tensor, first: Tensor) -> Tensor:
    """The affine map that does `first`, then `last`; (2, 3) all."""
    return torch.cat([last[:, :2] @ first[:, :2], last[:, :2] @ first[:, 2:] + last[:, 2:]], 1)
