"""Image similarity (PSNR, SSIM, mean absolute error, swap gain), one value per sample; RGB in [0, 1], (N, 3, H, W)."""

import torch
from torch import Tensor

PSNR_CAP = 100.0
"""dB reported for images that differ by less than 1e-5 in the root mean square, identical ones among them."""

_WINDOW = 11


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,): -10 log10 of the mean squared difference, at most PSNR_CAP.

    a, b: (N, C, H, W) with data range 1. mask: (N, 1, H, W) weights in [0, 1]: the mean runs over weighted pixels;
    a sample whose mask is empty gives NaN. Raises ValueError if the shapes differ.
    """
    error = _mean((_same(a, b) - b).square(), mask)
    return -10 * torch.log10(error.clamp_min(10 ** (-PSNR_CAP / 10)))


def ssim(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004; Gaussian window of 11 pixels, sigma 1.5), (N,), at most 1.

    a, b: (N, C, H, W) with data range 1, H and W above 5. mask: (N, 1, H, W) weights in [0, 1] for the mean of the
    similarity map; windows still look beyond it; a sample whose mask is empty gives NaN. ValueError if shapes differ.
    """
    from kornia.metrics import ssim as similarity  # takes seconds to import: validations need it, no step does

    return _mean(similarity(_same(a, b).contiguous(), b.contiguous(), _WINDOW), mask)


def absolute_error(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference, (N,), of a range of 1. Arguments and errors as in `psnr`."""
    return _mean((_same(a, b) - b).abs(), mask)


def swap_gain(student: Tensor, target: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """dB by which the student comes closer to the exact swap than the untouched target does, inside the mask, (N,).

    Zero for a student that copies the target, PSNR_CAP minus what the target has for a perfect one. Pairs of one
    person, whose truth is near the target, make it negative: leave them out. Images (N, 3, H, W), mask (N, 1, H, W).
    """
    return psnr(student, truth, mask) - psnr(target, truth, mask)


def _same(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape:
        raise ValueError(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return a


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over channels and pixels of (N, C, H, W), weighted by (N, 1, H, W): (N,)."""
    if mask is None:
        return values.flatten(1).mean(1)
    if mask.shape != (len(values), 1, *values.shape[2:]):
        raise ValueError(f"mask: expected {(len(values), 1, *values.shape[2:])}, got {tuple(mask.shape)}")
    return (values.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
