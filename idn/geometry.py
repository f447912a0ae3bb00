"""Alignment templates, similarity fits, warps between framings, and pasting a crop back into its picture.

Points and affine matrices live in normalised crop coordinates: (0, 0) is the outer corner of the top-left pixel and
(1, 1) that of the bottom-right one, so that nothing depends on the crop size. Matrices are (N, 2, 3) or (2, 3) and map
column points p to M[:, :2] @ p + M[:, 2].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import OptionError
from idn.images import resize


def _native(size: int, points: list[tuple[float, float]]) -> Tensor:
    """Pixel-centre coordinates of a `size` crop -> normalised coordinates."""
    return (torch.tensor(points, dtype=torch.float64) + 0.5) / size


_ARCFACE_V2 = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]

TEMPLATES: dict[str, Tensor] = {
    "arcface_112_v1": _native(
        112, [(39.730, 51.138), (72.270, 51.138), (56.0, 68.493), (42.463, 87.010), (69.537, 87.010)]
    ),
    "arcface_112_v2": _native(112, _ARCFACE_V2),
    "arcface_128": _native(128, [(x + 8, y) for x, y in _ARCFACE_V2]),
    "ffhq": _native(
        512,
        [
            (192.98138, 239.94708),
            (318.90277, 240.1936),
            (256.63416, 314.01935),
            (201.26117, 371.41043),
            (313.08905, 371.15118),
        ],
    ),
    "mtcnn": _native(
        512,
        [(187.2018, 239.277), (324.1236, 238.5236), (256.0979, 317.1387), (199.7597, 397.3055), (313.2374, 396.6792)],
    ),
}
"""Five points each, (5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen in the image."""


def template_points(name: str) -> Tensor:
    """The (5, 2) float64 points of a template. Raises OptionError with the known names."""
    if name not in TEMPLATES:
        raise OptionError("template", name, f"is unknown: choose one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]


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


def between_templates(template: str, wanted: str) -> Tensor:
    """(2, 3) constant map from coordinates of crops aligned to `template` to those aligned to `wanted`."""
    return fit_similarity(template_points(template), template_points(wanted))


def warp(images: Tensor, matrix: Tensor, size: int, padding: str = "border") -> Tensor:
    """Resample (N, C, H, W) into (N, C, size, size) by maps from input to output coordinates, (N, 2, 3) or (2, 3).

    Bilinear; `padding` as in `grid_sample` ("zeros", "border", "reflection"). Differentiable in the images. Shrinking
    by more than 2 should follow a `resize`, bilinear sampling does not average.
    """
    return _sample(images, invert_affine(matrix.to(images.device, torch.float64)), (size, size), padding)


def _sample(images: Tensor, back: Tensor, shape: tuple[int, int], padding: str) -> Tensor:
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


def in_pixels(matrix: Tensor, size_in: int, size_out: int) -> Tensor:
    """Maps between normalised coordinates of two squares, (..., 2, 3) -> the same between their pixel coordinates.

    size_in, size_out: sides in pixels of the squares that the maps come from and lead to.
    """
    return torch.cat([matrix[..., :2] * (size_out / size_in), matrix[..., 2:] * size_out], -1)


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
    left, top, right, bottom = _reach(back, size, width, height)
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
        _sample(resize(x, even) if size > 2 * even else x, scaled, (height, width), padding)
        for x, padding in ((crops, "border"), (feather(size, crops) if mask is None else mask, "zeros"))
    )
    return (share * image + (1 - share) * pictures).clamp(0, 1)


def _reach(matrix: Tensor, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a picture that crops may change, over all of a batch."""
    corners = matrix.new_tensor([(-1, -1), (size + 1, -1), (-1, size + 1), (size + 1, size + 1)])
    places = transform_points(corners, invert_affine(matrix)).flatten(0, -2)
    limits = places.new_tensor((width, height))
    low, high = places.amin(0).floor().clamp(min=0), places.amax(0).ceil()
    (left, top), (right, bottom) = (torch.minimum(v.clamp(min=0), limits).int().tolist() for v in (low, high))
    return left, top, right, bottom
