"""Every conversion of colour, range and size. House format: float RGB in [0, 1], (N, 3, H, W)."""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_pm1(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return images * 2 - 1


def to_01(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (images + 1) / 2


def normalize(images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> Tensor:
    """[0, 1] -> (x - mean) / std per channel. images: (N, 3, H, W)."""
    return (images - images.new_tensor(mean).view(1, -1, 1, 1)) / images.new_tensor(std).view(1, -1, 1, 1)


def denormalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """x * std + mean per channel, what `normalize` undoes. images: (N, C, H, W)."""
    return images * images.new_tensor(std).view(1, -1, 1, 1) + images.new_tensor(mean).view(1, -1, 1, 1)


def to_bgr255(images: Tensor) -> Tensor:
    """RGB in [0, 1] -> BGR in [0, 255], floats, as networks trained with OpenCV want them. images: (N, 3, H, W)."""
    return images.flip(1) * 255


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), or (N, C, *size): bilinear, anti-aliased when shrinking.

    As they are if nothing changes. Floats, or bytes that stay bytes.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == (height, width):
        return images
    shrinks = images.shape[-2] > height or images.shape[-1] > width
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)


def luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W): Rec. 601 brightness in [0, 1]."""
    return (images * images.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)


def to_uint8(images: Tensor) -> Tensor:
    """[0, 1] floats -> 0..255 bytes, clamped and rounded."""
    return images.detach().clamp(0, 1).mul(255).round().to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """0..255 bytes -> [0, 1] floats."""
    return images.float() / 255
