"""MobileFaceNet with 512 numbers: the identity network of MobileFSGAN, with the weights of its public repository.

Names of modules are those of the file, RGB_model_mobilefacenet.pth.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from idn.encoders.input_crop import check_template, face_crop
from idn.errors import OptionError
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen, build_uninitialised
from idn.images import to_pm1
from idn.types import IdentityFeatures

NAME = "MobileFaceNet-512 (MobileFSGAN)"
_SIZE, _DIM = 112, 512


class ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless it is linear, PReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(c_out, eps)
        self.prelu = None if linear else nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H', W')."""
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)

    def fold(self) -> None:
        """Absorb the BatchNorm into the convolution, for inference only."""
        self.conv, self.bn = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval()), nn.Identity()


class DepthwiseBlock(nn.Module):
    """Widen 1x1 to `groups`, depthwise 3x3, narrow 1x1; with stride 1, what is added to the input."""

    def __init__(self, c_in: int, c_out: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv = ConvBlock(c_in, groups, 1)
        self.conv_dw = ConvBlock(groups, groups, 3, stride, 1, groups)
        self.project = ConvBlock(groups, c_out, 1, linear=True)
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class Stage(nn.Module):
    """Residual depthwise blocks of one width."""

    def __init__(self, channels: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(DepthwiseBlock(channels, channels, groups, 1) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.model(x)


class MobileFaceNet512(nn.Module):
    """The network of the file, for crops of 112 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 64, 3, 2, 1)
        self.conv2_dw = ConvBlock(64, 64, 3, 1, 1, 64)
        self.conv_23 = DepthwiseBlock(64, 64, 128, 2)
        self.conv_3 = Stage(64, 4, 128)
        self.conv_34 = DepthwiseBlock(64, 128, 256, 2)
        self.conv_4 = Stage(128, 6, 256)
        self.conv_45 = DepthwiseBlock(128, 128, 512, 2)
        self.conv_5 = Stage(128, 2, 256)
        self.conv_6_sep = ConvBlock(128, 512, 1)
        self.conv_6_dw = ConvBlock(512, 512, 7, groups=512, linear=True)
        self.linear = nn.Linear(512, _DIM, bias=False)
        self.bn = nn.BatchNorm1d(_DIM)

    def forward(self, crops: Tensor) -> IdentityFeatures:
        """crops: (N, 3, 112, 112) RGB in [-1, 1].

        features: (N, 512, 7, 7), what the last depthwise convolution reads; shallow: (N, 64, 56, 56), (N, 64, 28, 28)
        and (N, 128, 14, 14).
        """
        first = self.conv2_dw(self.conv1(crops))
        second = self.conv_3(self.conv_23(first))
        third = self.conv_4(self.conv_34(second))
        features = self.conv_6_sep(self.conv_5(self.conv_45(third)))
        embedding = self.bn(self.linear(self.conv_6_dw(features).flatten(1)))
        return IdentityFeatures(F.normalize(embedding.float(), dim=1), features, (first, second, third))


class MobileFaceNet512Encoder(Frozen):
    """Frozen MobileFaceNet with 512 numbers: RGB in [-1, 1], 112 px.

    weights: RGB_model_mobilefacenet.pth, a plain state dict of 4.9 MB in the public repository of MobileFSGAN.
    crop_template: alignment of the pictures it will be given. Of those aligned to "mobilefsgan" it sees exactly what
        the published training cuts out of them: pixels 26 to 229 of 256.
    Raises OptionError when the file is not given, UserError when it is missing or holds another network.
    """

    name = NAME
    licence = "MIT"
    embedding_dim, feature_channels, feature_size = _DIM, 512, 7
    template, input_size = "arcface_112_v2", _SIZE

    def __init__(self, weights: str | Path | None, crop_template: str) -> None:
        super().__init__()
        if weights is None:
            wanted = "must be a file: RGB_model_mobilefacenet.pth, see HoiM/MobileFSGAN on GitHub"
            raise OptionError("weights", weights, wanted)
        self.crop_template = check_template("crop_template", crop_template)
        self.net = build_uninitialised(MobileFaceNet512)
        load_strict(self.net, read_tensors(str(weights)), f"MobileFaceNet-512 {weights}")
        for module in self.net.modules():
            if isinstance(module, ConvBlock):
                module.fold()
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `MobileFaceNet512.forward`."""
        return self.net(to_pm1(face_crop(images, self.crop_template, self.template, _SIZE)))
