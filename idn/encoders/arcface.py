"""ArcFace IR-SE-101 of foamliu/InsightFace-v2: the identity encoder of SimSwap and of the published MobileFaceSwap."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from idn.encoders.input_crop import check_template, face_crop
from idn.errors import OptionError
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen
from idn.images import normalize
from idn.types import IdentityFeatures

_SIZE = 112
_DEPTHS = (3, 4, 23, 3)
_CHANNELS = (64, 128, 256, 512)


class SqueezeExcite(nn.Module):
    """Channel attention: global mean, two linear layers with one-parameter PReLU between, sigmoid, product."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.PReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class ImprovedResidual(nn.Module):
    """Pre-activated residual block with squeeze-and-excite (arXiv:1801.07698); one PReLU serves both activations."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_in, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.se = SqueezeExcite(c_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H / stride), ceil(W / stride))."""
        y = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        y = self.se(self.bn2(self.conv2(y)))
        return self.prelu(y + (x if self.downsample is None else self.downsample(x)))


class ArcFaceNet(nn.Module):
    """IR-SE-101: 52,193,215 parameters, 112 px crops, 512-d embedding. Module names are those of the published files.

    Inference only: the dropout before the last layer, which does nothing there, is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        c_in = 64
        for number, (depth, c_out) in enumerate(zip(_DEPTHS, _CHANNELS, strict=True), 1):
            layer = nn.Sequential()
            for index in range(depth):
                stride = 2 if index == 0 and number > 1 else 1
                layer.append(ImprovedResidual(c_in, c_out, stride))
                c_in = c_out
            self.add_module(f"layer{number}", layer)
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.bn3 = nn.BatchNorm1d(512)

    def forward(self, crops: Tensor) -> IdentityFeatures:
        """crops: (N, 3, 112, 112), ImageNet-normalised. The first convolution has no padding: 112 -> 110 -> 55.

        features: (N, 512, 7, 7) after the last BatchNorm, exactly what the fully connected layer reads; shallow:
        (N, 64, 110, 110) before the pooling, (N, 64, 55, 55) and (N, 128, 28, 28) after the first two stages.
        """
        stem = self.prelu(self.bn1(self.conv1(crops)))
        first = self.layer1(F.max_pool2d(stem, 2))
        second = self.layer2(first)
        features = self.bn2(self.layer4(self.layer3(second)))
        embedding = self.bn3(self.fc(features.flatten(1)))
        return IdentityFeatures(F.normalize(embedding.float(), dim=1), features, (stem, first, second))


class ArcFaceEncoder(Frozen):
    """Frozen ArcFace IR-SE-101 (MS1M, LFW 99.83 %), ImageNet mean and deviation, 112 px.

    weights: MobileFaceSwap's `arcface.pdparams` or SimSwap's `arcface_checkpoint.tar`: the same network twice.
    template: alignment of the crop. arcface_112_v2 is what the published MobileFaceSwap used; SimSwap's teacher was
    trained with crops close to arcface_112_v1. crop_template: alignment of the pictures it will be given.
    Raises OptionError when the file is not given, UserError when it is missing or holds another network.
    """

    name = "ArcFace IR-SE-101 (foamliu)"
    licence = "Apache-2.0 code; weights trained on MS1M, research use"
    embedding_dim = 512
    feature_channels = 512
    feature_size = 7
    input_size = _SIZE

    def __init__(self, weights: str | Path | None, crop_template: str, template: str = "arcface_112_v2") -> None:
        super().__init__()
        if weights is None:
            raise OptionError("weights", weights, "must be a file: arcface.pdparams or arcface_checkpoint.tar")
        self.crop_template, self.template = (
            check_template("crop_template", crop_template),
            check_template("template", template),
        )
        self.net = ArcFaceNet()
        load_strict(self.net, arcface_tensors(read_tensors(str(weights))), f"ArcFace {weights}")
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `ArcFaceNet.forward` for the maps."""
        return self.net(normalize(face_crop(images, self.crop_template, self.template, _SIZE)))


def arcface_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of either published file, under the names and in the layout of `ArcFaceNet`.

    A wrapper's prefix (`module.`, `model.module.`) is removed together with everything outside it, such as the margin
    layer. Paddle's names and transposed linear layers are translated.
    """
    anchor = "layer1.0.bn0.weight"
    prefix = next((key.removesuffix(anchor) for key in tensors if key.endswith(anchor)), "")
    ours = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not any(key.endswith("._mean") for key in ours):
        return ours
    return dict(_from_paddle(key, value) for key, value in ours.items())


def _from_paddle(key: str, value: Tensor) -> tuple[str, Tensor]:
    linear = key == "fc.weight" or key.endswith((".se.fc.0.weight", ".se.fc.2.weight"))
    for theirs, ours in (("._mean", ".running_mean"), ("._variance", ".running_var"), ("._weight", ".weight")):
        key = key.removesuffix(theirs) + ours if key.endswith(theirs) else key
    return key, value.T.contiguous() if linear else value
