"""Face parsing: which part of a face every pixel shows (BiSeNet, arXiv:1808.00897, in the form of
github.com/zllrunning/face-parsing.PyTorch, whose `79999_iter.pth` these modules load key for key)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen
from idn.images import normalize, resize

LABELS = (
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "glasses",
    "left_ear",
    "right_ear",
    "earring",
    "nose",
    "mouth",
    "upper_lip",
    "lower_lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
"""Meaning of the channels 0 .. 18."""

FACE = ("skin", "left_brow", "right_brow", "left_eye", "right_eye", "nose", "mouth", "upper_lip", "lower_lip")
"""What a swap may change: 1, 2, 3, 4, 5, 10, 11, 12 and 13. Glasses, ears, neck, clothes, hair and hat are kept."""

SIZE = 512
"""Side in pixels of the pictures that the published weights were trained on."""


class _ConvBNReLU(nn.Module):
    """Convolution without bias that keeps the size, BatchNorm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class _Trunk(ResNet):
    """ResNet-18 up to its last map."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        del self.fc

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) -> 128, 256 and 512 channels at 1/8, 1/16 and 1/32 of the size."""
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Refinement(nn.Module):
    """3x3 convolution whose channels are weighted by what the whole picture shows."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = _ConvBNReLU(c_in, c_out, 3)
        self.conv_atten = nn.Conv2d(c_out, c_out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))).sigmoid()


class _Context(nn.Module):
    """The trunk, read from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Trunk()
        self.arm16 = _Refinement(256, 128)
        self.arm32 = _Refinement(512, 128)
        self.conv_head32 = _ConvBNReLU(128, 128, 3)
        self.conv_head16 = _ConvBNReLU(128, 128, 3)
        self.conv_avg = _ConvBNReLU(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> the trunk's and the context's map at 1/8 of the size, (N, 128, H/8, W/8) each."""
        eighth, sixteenth, last = self.resnet(x)
        coarse = self.arm32(last) + self.conv_avg(last.mean((2, 3), keepdim=True))
        coarse = self.conv_head32(F.interpolate(coarse, sixteenth.shape[-2:], mode="nearest"))
        fine = self.arm16(sixteenth) + coarse
        return eighth, self.conv_head16(F.interpolate(fine, eighth.shape[-2:], mode="nearest"))


class _Fusion(nn.Module):
    """Joins two maps and strengthens the channels that the whole picture asks for."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = _ConvBNReLU(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two (N, channels / 2, H, W) -> (N, channels, H, W)."""
        x = self.convblk(torch.cat([a, b], 1))
        return x * (1 + self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))).sigmoid())


class _Head(nn.Module):
    """Scores of the 19 labels."""

    def __init__(self, c_in: int, c_mid: int) -> None:
        super().__init__()
        self.conv = _ConvBNReLU(c_in, c_mid, 3)
        self.conv_out = nn.Conv2d(c_mid, len(LABELS), 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 19, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Scores of 19 labels per pixel. The two heads at coarser scales served the training; only their weights remain."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = _Context()
        self.ffm = _Fusion(256)
        self.conv_out = _Head(256, 256)
        self.conv_out16 = _Head(128, 64)
        self.conv_out32 = _Head(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), ImageNet-normalised -> (N, 19, H, W)."""
        scores = self.conv_out(self.ffm(*self.cp(x)))
        return F.interpolate(scores, x.shape[-2:], mode="bilinear", align_corners=True)


class ParsingRegions(Frozen):
    """Face regions as BiSeNet sees them: hair, glasses and hands before the face stay outside. Wants wide crops."""

    def __init__(self, weights: str) -> None:
        """Load published weights strictly. weights: path of `79999_iter.pth`. Raises UserError if they do not fit."""
        super().__init__()
        self.net = BiSeNet()
        load_strict(self.net, read_tensors(weights), "BiSeNet face parser")
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Probability that a pixel shows face. images: (N, 3, S, S) RGB in [0, 1]; landmarks are not needed.

        Returns (N, 1, S, S) in [0, 1].
        """
        scores = self.net(normalize(resize(images, SIZE))).softmax(1)
        face = scores[:, [LABELS.index(name) for name in FACE]].sum(1, keepdim=True)
        return resize(face, images.shape[-1]).clamp(0, 1)
