"""MobileFaceNet (arXiv:1804.07573): the network, and the encoder with weights of foamliu/MobileFaceNet."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from idn.encoders.input_crop import check_template, face_crop
from idn.errors import OptionError
from idn.files.option_checks import require_int, require_number
from idn.files.tensors import load_strict, read_tensors, strip_prefix
from idn.frozen import Frozen
from idn.images import normalize
from idn.types import IdentityFeatures

_STAGES = (((2, 64),) * 5, ((4, 128), *((2, 128),) * 6), ((4, 128), *((2, 128),) * 2))
"""(expansion, output channels at width 1) of every block; each stage starts by halving the map."""

_FEATURE_CHANNELS = 512

_ANCHORS = ("conv1.0.weight", "gdconv.bn.weight")
"""Keys that every file of foamliu/MobileFaceNet has, after a prefix perhaps."""


class ConvNorm(nn.Module):
    """Convolution, BatchNorm and an activation (`nn.Identity()` for none); odd kernels keep the size at stride 1."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, activation: nn.Module, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)
        self.activation = activation

    def fold(self) -> None:
        """Absorb the BatchNorm into the convolution, for inference only: the same output in fewer passes."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        return self.activation(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Inverted residual (MobileNetV2): widen 1x1, depthwise 3x3, narrow 1x1 without activation."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.widen = ConvNorm(c_in, hidden, 1, nn.ReLU6())
        self.depthwise = ConvNorm(hidden, hidden, 3, nn.ReLU6(), stride, groups=hidden)
        self.narrow = ConvNorm(hidden, c_out, 1, nn.Identity())
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        y = self.narrow(self.depthwise(self.widen(x)))
        return x + y if self.residual else y


class MobileFaceNet(nn.Module):
    """Trainable face recogniser for phones (arXiv:1804.07573), with the activations of foamliu/MobileFaceNet.

    width: multiplies the channels of all blocks, rounded to multiples of 8; the last map always has 512 channels.
    input_size: side of the crop in pixels. From 80 on it is halved four times (112 -> 7x7; a multiple of 16); below,
    the first stage keeps the size (56 -> 7x7; a multiple of 8): the same maps from there on, a cheaper beginning.
    template, crop_template: alignment of the crop it works on, and of the pictures that it will be given.
    Raises OptionError for an unknown template, a size that cannot be halved evenly, and a width or a dimension that no
    such network has.
    """

    def __init__(self, width: float, embedding_dim: int, input_size: int, template: str, crop_template: str) -> None:
        super().__init__()
        require_number("width", width, 0.125, 4)
        require_int("embedding_dim", embedding_dim, 2)
        require_int("input_size", input_size, 32)
        halvings = 4 if input_size >= 80 else 3
        if input_size % 2**halvings:
            raise OptionError("input_size", input_size, "must be a multiple of 16 from 80 on, of 8 between 32 and 72")
        self.width, self.embedding_dim, self.input_size = width, embedding_dim, input_size
        self.template, self.crop_template = (
            check_template("template", template),
            check_template("crop_template", crop_template),
        )
        self.feature_channels, self.feature_size = _FEATURE_CHANNELS, input_size // 2**halvings
        channels = _scaled(64, width)
        self.stem = ConvNorm(3, channels, 3, nn.ReLU6(), stride=2)
        self.depthwise = ConvNorm(channels, channels, 3, nn.ReLU(), groups=channels)
        self.pointwise = ConvNorm(channels, channels, 1, nn.ReLU())
        self.stages = nn.ModuleList()
        for settings, stride in zip(_STAGES, (halvings - 2, 2, 2), strict=True):
            stage = nn.Sequential()
            for index, (expansion, base) in enumerate(settings):
                out = _scaled(base, width)
                stage.append(Bottleneck(channels, out, expansion, stride if index == 0 else 1))
                channels = out
            self.stages.append(stage)
        self.last = ConvNorm(channels, _FEATURE_CHANNELS, 1, nn.ReLU6())
        c = self.feature_channels
        self.pool = nn.Conv2d(c, c, self.feature_size, groups=c, bias=False)
        self.pool_norm = nn.BatchNorm1d(c)
        self.embed = nn.Linear(c, embedding_dim)
        self.embed_norm = nn.BatchNorm1d(embedding_dim)

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`.

        Returns features (N, 512, f, f) after the last 1x1 convolution, and three shallow maps: the stem, before the
        first stage, at half of `input_size`, then the outputs of the first two stages.
        """
        x = normalize(face_crop(images, self.crop_template, self.template, self.input_size))
        x = x.contiguous(memory_format=torch.channels_last)
        shallow = [self.pointwise(self.depthwise(self.stem(x)))]
        for stage in self.stages:
            shallow.append(stage(shallow[-1]))
        features = self.last(shallow.pop())
        embedding = self.embed_norm(self.embed(self.pool_norm(self.pool(features).flatten(1))))
        return IdentityFeatures(F.normalize(embedding.float(), dim=1), features, tuple(shallow))

    def fold(self) -> None:
        """Absorb every BatchNorm that follows a convolution of the trunk: the network can no longer be trained."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()


class MobileFaceNetEncoder(Frozen):
    """Frozen MobileFaceNet of foamliu/MobileFaceNet (Apache-2.0; LFW 99.48 %): 112 px, arcface_112_v2, 128-d.

    weights: a plain state_dict of that network. crop_template: alignment template of the pictures it will be given.
    Raises OptionError when the file is not given, UserError when it is missing or holds another network.
    """

    name = "MobileFaceNet (foamliu)"
    licence = "Apache-2.0"

    def __init__(self, weights: str | Path | None, crop_template: str) -> None:
        super().__init__()
        if weights is None:
            raise OptionError("weights", weights, "must be a file: see foamliu/MobileFaceNet on GitHub")
        self.net = MobileFaceNet(1.0, 128, 112, "arcface_112_v2", crop_template)
        load_strict(
            self.net, rename_foamliu(strip_prefix(read_tensors(str(weights)), _ANCHORS)), f"MobileFaceNet {weights}"
        )
        self.embedding_dim, self.feature_channels, self.feature_size = 128, _FEATURE_CHANNELS, 7
        self.template, self.input_size = self.net.template, self.net.input_size
        self.net.fold()
        self.to(memory_format=torch.channels_last).freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `MobileFaceNet.forward` for the maps."""
        return self.net(images)


def rename_foamliu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys and shapes of a foamliu/MobileFaceNet state_dict -> those of `MobileFaceNet`; unknown keys stay."""
    return {_foamliu_key(key): _flat_pointwise(key, value) for key, value in tensors.items()}


def _foamliu_key(key: str) -> str:
    block = re.fullmatch(r"features\.(\d+)\.conv\.(.+)", key)
    if block is None:
        return _replace_prefix(key, _TRUNK)
    number = int(block[1])
    stage, start = next((s, b) for s, b in ((2, 12), (1, 5), (0, 0)) if number >= b)
    return f"stages.{stage}.{number - start}." + _replace_prefix(block[2], _BLOCK)


_TRUNK = {
    "conv1.0.": "stem.conv.",
    "conv1.1.": "stem.norm.",
    "dw_conv.depthwise.": "depthwise.conv.",
    "dw_conv.bn1.": "depthwise.norm.",
    "dw_conv.pointwise.": "pointwise.conv.",
    "dw_conv.bn2.": "pointwise.norm.",
    "conv2.0.": "last.conv.",
    "conv2.1.": "last.norm.",
    "gdconv.depthwise.": "pool.",
    "gdconv.bn.": "pool_norm.",
    "conv3.": "embed.",
    "bn.": "embed_norm.",
}
_BLOCK = {
    "0.0.": "widen.conv.",
    "0.1.": "widen.norm.",
    "1.0.": "depthwise.conv.",
    "1.1.": "depthwise.norm.",
    "2.": "narrow.conv.",
    "3.": "narrow.norm.",
}


def _replace_prefix(key: str, prefixes: dict[str, str]) -> str:
    found = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
    return key if found is None else prefixes[found] + key[len(found) :]


def _flat_pointwise(key: str, value: Tensor) -> Tensor:
    return value.flatten(1) if key == "conv3.weight" else value


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)
