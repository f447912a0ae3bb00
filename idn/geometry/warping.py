"""Warping: resampling crops by affine maps, from template to template, and pasting them back into their pictures."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.geometry.affine import invert_affine, transform_points
from idn.geometry.templates import between_templates
from idn.images import resize


def warp(images: Tensor, matrix: Tensor, size: int, padding: str = "border") -> Tensor:
    """Resample (N, C, H, W) into (N, C, size, size) by maps from input to output coordinates, (N, 2, 3) or (2, 3).

    Bilinear; `padding` as in `grid_sample` ("zeros", "border", "reflection"). Differentiable in the images. Shrinking
    by more than 2 should follow a `resize`, bilinear sampling does not average.
    """
    return sample(images, invert_affine(matrix.to(images.device, torch.float64)), (size, size), padding)


def sample(images: Tensor, back: Tensor, shape: tuple[int, int], padding: str) -> Tensor:
    """(N, C, H, W) -> (N, C, *shape). back: float64 maps from output to input coordinates, (N, 2, 3) or (2, 3).

    One image for N maps is read N times.
    """
    n = max(len(images), back[..., 0, 0].numel())
    images, back = images.expand(n, -1, -1, -1), back.expand(n, 2, 3)
    linear, shift = back[..., :2], back[..., 2]
    ones = back.new_ones(2)
    theta = torch.cat([linear, (linear @ ones + 2 * shift - ones).unsqueeze(-1)], -1)
    grid = F.affine_grid(theta.to(images.dtype), [n, images.shape[1], *shape], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def realign(images: Tensor, template: str, wanted: str, size: int, padding: str = "border") -> Tensor:
    """Square crops aligned to `template` -> crops aligned to `wanted`, (N, C, size, size).

    A resize if the names are equal. Otherwise one bilinear warp, after an anti-aliased resize where the face shrinks by
    more than 2 and the warp would skip pixels.
    """
    if template == wanted:
        return resize(images, size)
    matrix = between_templates(template, wanted)
    even = _even(size * float(matrix[:, 0].norm()))
    return warp(resize(images, even) if images.shape[-1] > 2 * even else images, matrix, size, padding)


def _even(side: float) -> int:
    """Pixels of a crop whose face neither shrinks nor grows, from a side that is off by rounding errors."""
    return math.ceil(round(side, 6))


def feather(size: int, like: Tensor) -> Tensor:
    """(1, 1, size, size): 1 inside, falling to 0 over the outer twentieth; of the dtype of `like`."""
    line = torch.arange(size, device=like.device, dtype=like.dtype)
    edge = (torch.minimum(line, size - 1 - line) / (size / 20)).clamp(0, 1)
    return torch.minimum(edge[None, :], edge[:, None])[None, None]


def paste(pictures: Tensor, crops: Tensor, matrix: Tensor, mask: Tensor | None = None) -> Tensor:
    """Put crops back into the pictures that they were cut from. Returns new pictures, (N, C, H, W) in [0, 1].

    pictures: (N, C, H, W) in [0, 1].
    crops: (N, C, s, s) in [0, 1].
    matrix: (N, 2, 3) or (2, 3), from pixels of the picture to pixels of the crop, as `cut_crop` returns it; both are
        continuous: pixel i spans i to i + 1.
    mask: (N, 1, s, s) or (1, 1, s, s) in [0, 1], the share of each pixel of the crop that shows; None for `feather`.
    Outside of the crop, the pictures stay bit for bit as they are; in large ones only its surroundings are computed.
    A crop that shrinks by more than 2 is averaged first.
    """
    size, (height, width) = crops.shape[-1], pictures.shape[-2:]
    back = matrix.to(pictures.device, torch.float64)
    left, top, right, bottom = reach(back, size, width, height)
    if 4 * (right - left) * (bottom - top) < width * height:
        whole = pictures.clone()
        if right > left and bottom > top:
            corner = transform_points(back.new_tensor([[left, top]]), back).mT
            moved = torch.cat([back[..., :2], corner], -1)
            whole[..., top:bottom, left:right] = paste(whole[..., top:bottom, left:right], crops, moved, mask)
        return whole
    even = _even(size / float(back[..., 0].norm(dim=-1).min()))
    scaled = torch.cat([back[..., :2] * (back.new_tensor((width, height)) / size), back[..., 2:] / size], -1)
    image, share = (
        sample(resize(x, even) if size > 2 * even else x, scaled, (height, width), padding)
        for x, padding in ((crops, "border"), (feather(size, crops) if mask is None else mask, "zeros"))
    )
    return (share * image + (1 - share) * pictures).clamp(0, 1)


def reach(matrix: Tensor, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a picture that crops may change, over all of a batch."""
    corners = matrix.new_tensor([(-1, -1), (size + 1, -1), (-1, size + 1), (size + 1, size + 1)])
    places = transform_points(corners, invert_affine(matrix)).flatten(0, -2)
    limits = places.new_tensor((width, height))
    low, high = places.amin(0).floor().clamp(min=0), places.amax(0).ceil()
    (left, top), (right, bottom) = (torch.minimum(v.clamp(min=0), limits).int().tolist() for v in (low, high))
    return left, top, right, bottom
