"""Convolutions whose kernels differ from sample to sample, and the folding of the modulation into them. Pure functions.

N samples, C channels. On a CPU every map is channels-last and each sample has its own depthwise call; on any other
device one grouped call serves all the samples. Both give the same numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights


def arrange(x: Tensor) -> Tensor:
    """(N, C, H, W) in the memory layout that `depthwise` wants on this device: channels-last on a CPU, else plain."""
    return x.contiguous(memory_format=torch.channels_last if x.device.type == "cpu" else torch.contiguous_format)


def depthwise(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Depthwise convolution with one kernel per sample and channel, zero-padded by (k - 1) // 2.

    x: (N, C, H, W); kernels: (N, C, k, k). Returns (N, C, H // stride, W // stride) for even k with stride 2 and for
    odd k with stride 1. Raises ValueError if the kernels belong to another N or C.
    """
    if kernels.ndim != 4 or kernels.shape[:2] != x.shape[:2]:
        raise ValueError(f"kernels: expected ({x.shape[0]}, {x.shape[1]}, k, k), got {tuple(kernels.shape)}")
    per_device = _depthwise_per_sample if x.device.type == "cpu" else _depthwise_grouped
    return per_device(x, kernels, stride)


def _depthwise_per_sample(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    padding = (kernels.shape[-1] - 1) // 2
    samples = zip(arrange(x).split(1), kernels.unsqueeze(2).unbind(0), strict=True)
    return torch.cat([F.conv2d(one, kernel, None, stride, padding, 1, x.shape[1]) for one, kernel in samples])


def _depthwise_grouped(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    n, c, h, w = x.shape
    flat, weight = x.reshape(1, n * c, h, w), kernels.flatten(0, 1).unsqueeze(1)
    y = F.conv2d(flat, weight, None, stride, (kernels.shape[-1] - 1) // 2, 1, n * c)
    return y.reshape(n, c, *y.shape[2:])


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """1x1 convolution with a kernel that all samples share. x: (N, C_in, H, W); weight: (C_out, C_in)."""
    return F.conv2d(x, weight[:, :, None, None])


def pointwise_per_sample(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """1x1 convolution with one kernel per sample, as a batched matrix product that keeps the memory layout of x.

    x: (N, C_in, H, W); weights: (N, C_out, C_in); bias: (C_out,), shared. Returns (N, C_out, H, W).
    """
    n, _, h, w = x.shape
    if x.device.type == "cpu":
        y = torch.baddbmm(bias, arrange(x).permute(0, 2, 3, 1).flatten(1, 2), weights.mT)
        return y.unflatten(1, (h, w)).permute(0, 3, 1, 2)
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
