"""Convolutions whose kernels differ from sample to sample, and the folding of the modulation into them. Pure functions.

N samples of M identities, N / M of each in a row; C channels. On a CPU every map is channels-last and each identity has
its own depthwise call; on any other device one grouped call serves all the samples. Both give the same numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.types import repeat_rows


def arrange(x: Tensor) -> Tensor:
    """(N, C, H, W) in the memory layout that `depthwise` wants on this device: channels-last on a CPU, else plain."""
    return x.contiguous(memory_format=torch.channels_last if x.device.type == "cpu" else torch.contiguous_format)


def depthwise(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Depthwise convolution with one kernel per identity and channel, zero-padded by (k - 1) // 2.

    x: (N, C, H, W); kernels: (M, C, k, k). Returns (N, C, H // stride, W // stride) for even k with stride 2 and for
    odd k with stride 1. Raises ValueError if the kernels belong to another C, or M does not divide N.
    """
    if kernels.ndim != 4 or kernels.shape[1] != x.shape[1] or x.shape[0] % kernels.shape[0]:
        raise ValueError(
            f"kernels: expected (M, {x.shape[1]}, k, k), {x.shape[0]} divisible by M, got {tuple(kernels.shape)}"
        )
    per_device = _depthwise_per_identity if x.device.type == "cpu" else _depthwise_grouped
    return per_device(x, kernels, stride)


def _depthwise_per_identity(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    padding, targets = (kernels.shape[-1] - 1) // 2, x.shape[0] // kernels.shape[0]
    parts = zip(arrange(x).split(targets), kernels.unsqueeze(2).unbind(0), strict=True)
    return torch.cat([F.conv2d(part, kernel, None, stride, padding, 1, x.shape[1]) for part, kernel in parts])


def _depthwise_grouped(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    n, c, h, w = x.shape
    flat, weight = x.reshape(1, n * c, h, w), repeat_rows(kernels, n // len(kernels)).flatten(0, 1).unsqueeze(1)
    y = F.conv2d(flat, weight, None, stride, (kernels.shape[-1] - 1) // 2, 1, n * c)
    return y.reshape(n, c, *y.shape[2:])


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """1x1 convolution with a kernel that all samples share. x: (N, C_in, H, W); weight: (C_out, C_in)."""
    return F.conv2d(x, weight[:, :, None, None])


def pointwise_per_identity(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """1x1 convolution with one kernel per identity, as a batched matrix product that keeps the memory layout of x.

    x: (N, C_in, H, W); weights: (M, C_out, C_in), M divides N; bias: (C_out,), shared. Returns (N, C_out, H, W).
    """
    n, c, h, w = x.shape
    if x.device.type == "cpu":
        y = torch.baddbmm(bias, arrange(x).permute(0, 2, 3, 1).reshape(len(weights), -1, c), weights.mT)
        return y.view(n, h, w, -1).permute(0, 3, 1, 2)
    weights = repeat_rows(weights, n // len(weights))
    return torch.baddbmm(bias[:, None], weights, x.reshape(n, -1, h * w)).unflatten(2, (h, w))


def fold(weights: DynamicWeights) -> list[Tensor]:
    """Depthwise kernels, (N, C_in, k, k) each, that carry the whole modulation; the pointwise kernels stay shared.

    The scale of an input channel multiplies that channel's depthwise kernel. The demodulation of an output channel is
    positive, so it passes through LeakyReLU, bilinear upsampling and concatenation, and multiplies the depthwise kernel
    that reads the channel next. Every pair of a network run with these kernels returns its true output divided by the
    demodulation of its channels; that of the last encoder and decoder pair is left to the layers that follow.
    """
    demodulation, stages = weights.demodulation, len(weights.depthwise) // 2 + 1
    incoming = [None, *demodulation[:stages]]
    for decoder in range(1, len(weights.depthwise) - stages):
        skip = demodulation[stages - 1 - decoder]
        incoming.append(torch.cat([demodulation[stages + decoder - 1], skip], 1))
    kernels = []
    for kernel, scale, divided in zip(weights.depthwise, weights.scale, incoming, strict=True):
        gain = scale if divided is None else scale * divided
        kernels.append(kernel * gain[:, :, None, None])
    return kernels
