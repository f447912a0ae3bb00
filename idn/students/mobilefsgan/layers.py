"""Blocks of the MobileFSGAN generator, under the published names, and how each becomes one for inference (folding).

All keep the number of channels. A LeakyReLU has slope 0.01.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttributeBlock(nn.Module):
    """BatchNorm, 1x1, LeakyReLU, 3x3: what a residual connection adds to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.normalize: nn.Module = nn.BatchNorm2d(width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.conv3x3(F.leaky_relu(self.conv1x1(self.normalize(x))))

    def fold(self) -> None:
        """Absorb the BatchNorm into the 1x1 convolution after it, for inference only."""
        self.conv1x1 = _absorbed(self.normalize, self.conv1x1)
        self.normalize = nn.Identity()


class IdentityBlock(nn.Module):
    """BatchNorm without parameters, scaled and shifted by the identity, then LeakyReLU, 1x1, LeakyReLU, 3x3.

    The scale is that of the published network, without a neutral 1 added. embedding: numbers of an identity.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.normalize: nn.Module = nn.BatchNorm2d(width, affine=False)
        self.fc_mean = nn.Linear(embedding, width)
        self.fc_var = nn.Linear(embedding, width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (N, C, H, W); embedding: (N, D), or (1, D) for all. Returns (N, C, H, W)."""
        return _modulated(self, self.normalize(x), *self.constants(embedding))

    def constants(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift of every channel, (N, C, 1, 1) each. embedding: (N, D)."""
        return self.fc_var(embedding)[:, :, None, None], self.fc_mean(embedding)[:, :, None, None]

    def fold(self) -> None:
        """Absorb the BatchNorm into the layers that read the identity, for inference only."""
        norm, mean, scale = self.normalize, self.fc_mean, self.fc_var
        inverse = (norm.running_var + norm.eps).rsqrt()
        offset = norm.running_mean * inverse
        mean.weight.sub_(offset[:, None] * scale.weight)
        mean.bias.sub_(offset * scale.bias)
        scale.weight.mul_(inverse[:, None])
        scale.bias.mul_(inverse)
        self.normalize = nn.Identity()


class ConstantIdentityBlock(nn.Module):
    """A folded IdentityBlock of one person: scale and shift are constants. embedding: (1, D)."""

    def __init__(self, block: IdentityBlock, embedding: Tensor) -> None:
        super().__init__()
        scale, shift = block.constants(embedding)
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())
        self.conv1x1, self.conv3x3 = block.conv1x1, block.conv3x3

    def forward(self, x: Tensor, embedding: None) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return _modulated(self, x, self.scale, self.shift)


class DecoderBlock(nn.Module):
    """Mixes its input with an attribute map by a map of attention, which may take any value, then an AttributeBlock.

    The published attention starts at random. Here it starts as one half everywhere: it multiplies maps by a sum of
    themselves, block after block, and grows beyond all numbers where that sum is large.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_attention = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.conv_attention.weight)
        nn.init.constant_(self.conv_attention.bias, 0.5)
        self.basic_block = AttributeBlock(width)

    def forward(self, x: Tensor, attribute: Tensor) -> Tensor:
        """(N, C, H, W) and the attribute map, of the same size -> (N, C, H, W)."""
        return self.basic_block(attribute + self.conv_attention(x) * (x - attribute))


class Downsample(nn.Module):
    """BatchNorm, 4x4 with stride 2, LeakyReLU. The BatchNorm stays: zeros are padded behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / 2, W / 2)."""
        return F.leaky_relu(self.conv(self.normalize(x)))


def reflected(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H + 2, W + 2), as `F.pad(x, (1, 1, 1, 1), mode="reflect")`.

    By slices, which runtimes for phones know: an exporter makes a gather of the padding, which ExecuTorch leaves to
    plain loops.
    """
    x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], 2)
    return torch.cat([x[..., 1:2], x, x[..., -2:-1]], 3)


class Upsample(nn.Module):
    """BatchNorm, bilinear doubling with aligned corners, 3x3 over a reflected border, LeakyReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.normalize: nn.Module = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2 H, 2 W)."""
        larger = F.interpolate(self.normalize(x), scale_factor=2.0, mode="bilinear", align_corners=True)
        return F.leaky_relu(self.conv(reflected(larger)))

    def fold(self) -> None:
        """Absorb the BatchNorm into the convolution, for inference only: doubling and reflection keep a shift."""
        self.conv = _absorbed(self.normalize, self.conv)
        self.normalize = nn.Identity()


class ImageOutput(nn.Module):
    """3x3 to three colours, and tanh."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 3, H, W) in [-1, 1]."""
        return torch.tanh(self.conv(x))


def _modulated(block: IdentityBlock | ConstantIdentityBlock, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return block.conv3x3(F.leaky_relu(block.conv1x1(F.leaky_relu(x * scale + shift))))


def _absorbed(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """One convolution, without zeros at its border, for a BatchNorm in eval mode and the convolution after it."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    both = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size)
    both.weight.copy_(conv.weight * scale[:, None, None])
    both.bias.copy_((conv.weight * shift[:, None, None]).sum((1, 2, 3)))
    if conv.bias is not None:
        both.bias.add_(conv.bias)
    return both.requires_grad_(False)
