"""Cropping: one aligned face out of a photograph, and the matrix by which `paste` puts it back."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idn.errors import UserError
from idn.geometry.affine import fit_similarity, invert_affine, transform_points
from idn.geometry.templates import template_points
from idn.geometry.warping import warp
from idn.images import from_uint8, resize, to_uint8

_LARGEST = 8192
"""A region of more pixels a side is cut out of an averaged copy of its photograph."""
_WIDEST = 100
"""A crop may be this many times as wide as its photograph, not more."""


class UnusableLandmarks(UserError):
    """Landmarks that lie in one place, contradict each other or are no numbers: no face can be cut out by them."""


class Crop(NamedTuple):
    """An aligned face, and where it was."""

    image: Tensor
    """(3, S, S) uint8 RGB."""
    landmarks: Tensor
    """(5, 2) float64 in normalised coordinates of the crop."""
    inside: float
    """Share of the crop that lies inside the photograph; outside, the border is repeated."""
    matrix: Tensor
    """(2, 3) float64: from pixels of the photograph to pixels of the crop. Pixel i spans i to i + 1."""


def cut_crop(photo: Tensor, landmarks: Tensor, template: str, size: int) -> Crop:
    """Cut one aligned face out of a photograph, averaging over pixels where that shrinks it.

    photo: (3, H, W) uint8 RGB.
    landmarks: (5, 2) float64 in pixels, in the order of the templates.
    template: alignment template of the crop.
    size: its side in pixels.
    Raises UnusableLandmarks, and OptionError for an unknown template.
    """
    onto = fit_similarity(landmarks, template_points(template))
    share = float(onto[:, :2].det().sqrt())  # of the crop's width that a pixel of the photograph takes
    if not 1 / (_WIDEST * max(photo.shape)) <= share <= 1:
        raise UnusableLandmarks("the landmarks of the face do not show where it is")
    corners = transform_points(landmarks.new_tensor([(0, 0), (1, 0), (0, 1), (1, 1)]), invert_affine(onto))
    left, top = (int(v) for v in corners.amin(0).floor() - 2)
    side = int((corners.amax(0).ceil() + 2 - corners.new_tensor((left, top))).max())
    if side > _LARGEST:
        factor = -(-side // (_LARGEST // 2))
        crop = cut_crop(reduced(photo, factor), landmarks / factor, template, size)
        return crop._replace(matrix=torch.cat([crop.matrix[:, :2] / factor, crop.matrix[:, 2:]], 1))
    region = from_uint8(square(photo, left, top, side))[None]
    if share * size < 1:
        region = resize(region, max(1, round(side * share * size)))
    to_crop = torch.cat([onto[:, :2] * side, transform_points(onto.new_tensor([[left, top]]), onto).mT], 1)
    steps = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
    probes = transform_points(torch.cartesian_prod(steps, steps), invert_affine(onto))
    inside = ((probes >= 0) & (probes <= probes.new_tensor((photo.shape[2], photo.shape[1])))).all(-1)
    image = to_uint8(warp(region, to_crop, size))[0]
    return Crop(image, transform_points(landmarks, onto), float(inside.double().mean()), onto * size)


def reduced(photo: Tensor, factor: int) -> Tensor:
    """(3, H, W) uint8 -> (3, ceil(H / factor), ceil(W / factor)) uint8, averaged over squares of `factor` pixels."""
    pixels = Image.fromarray(photo.permute(1, 2, 0).contiguous().numpy()).reduce(factor)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous()


def square(photo: Tensor, left: int, top: int, side: int) -> Tensor:
    """(3, side, side) cut-out of (3, H, W); where it leaves the photograph, the nearest border pixel is repeated."""
    height, width = photo.shape[-2:]
    rows = torch.arange(top, top + side).clamp(0, height - 1)
    columns = torch.arange(left, left + side).clamp(0, width - 1)
    part = photo[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if part.shape[-2:] == (side, side):
        return part
    return part[:, rows - rows[0]][:, :, columns - columns[0]]
