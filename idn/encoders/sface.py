"""SFace of OpenCV Zoo (arXiv:2205.12010): a recogniser of photographs with 128 numbers whose licence is permissive.

The network is a MobileNet with PReLUs, trained with the SFace loss. Its file is ONNX: nothing in it is executed, every
node is checked, and the weights go into layers of PyTorch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from idn.encoders.graph_walk import ForeignGraphError, GraphWalk
from idn.encoders.input_crop import check_template, face_crop
from idn.encoders.mobilefacenet_512 import ConvBlock
from idn.errors import ForeignFile, OptionError, shown
from idn.files.onnx_graph import OnnxNode, read_onnx
from idn.files.onnx_plain_weights import plain_weights
from idn.files.tensors import load_strict
from idn.frozen import Frozen, build_uninitialised
from idn.images import to_pm1
from idn.types import IdentityFeatures

_SIZE, _DIM, _LAST = 112, 128, 1024
_MIDDLE, _FACTOR = 127.5, 1 / 128
"""The graph begins with (x - 127.5) / 128 of colours from 0 to 255."""
_EPS, _TAIL_EPS = (float(np.float32(value)) for value in (1e-3, 2e-5))
_STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (_LAST,) * 2)
"""Channels after each block; every stage but the first halves the map."""
_DEFAULTS: dict[str, dict[str, object]] = {
    "Conv": {"auto_pad": "NOTSET", "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1},
    "BatchNormalization": {"epsilon": float(np.float32(1e-5)), "training_mode": 0},
    "Flatten": {"axis": 1},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
}
"""What ONNX takes where a node does not say."""
_IDLE = {"Conv": {"kernel_shape"}, "BatchNormalization": {"momentum", "spatial"}, "Dropout": {"ratio", "seed"}}
"""Attributes that change nothing here: the shapes of the weights say the same, or they are of training."""


class SFace(nn.Module):
    """The network of the file: 13 blocks of a depthwise 3x3 and a 1x1 convolution after a first 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        c_in = 32
        self.first = ConvBlock(3, c_in, 3, 1, 1, eps=_EPS)
        self.stages = nn.ModuleList()
        for number, widths in enumerate(_STAGES):
            stage = nn.Sequential()
            for index, c_out in enumerate(widths):
                stride = 2 if number > 0 and index == 0 else 1
                stage.append(ConvBlock(c_in, c_in, 3, stride, 1, c_in, eps=_EPS))
                stage.append(ConvBlock(c_in, c_out, 1, eps=_EPS))
                c_in = c_out
            self.stages.append(stage)
        self.bn = nn.BatchNorm2d(_LAST, _TAIL_EPS)
        self.fc = nn.Linear(_LAST * (_SIZE // 16) ** 2, _DIM)
        self.fc_bn: nn.Module = nn.BatchNorm1d(_DIM, _TAIL_EPS)

    def forward(self, crops: Tensor) -> IdentityFeatures:
        """crops: (N, 3, 112, 112) RGB, in [-127.5 / 128, 127.5 / 128].

        features: (N, 1024, 7, 7) after the last BatchNorm, exactly what the fully connected layer reads; shallow: the
        ends of three stages, (N, 128, 56, 56), (N, 256, 28, 28) and (N, 512, 14, 14).
        """
        x, maps = self.first(crops), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        features = self.bn(x)
        embedding = self.fc_bn(self.fc(features.flatten(1))).float()
        length = embedding.norm(dim=1)
        return IdentityFeatures(embedding / length.clamp_min(1e-12)[:, None], features, tuple(maps[1:4]), length)

    def fold(self) -> None:
        """Absorb every BatchNorm but the one that `features` show into the layer before it, for inference only."""
        for module in self.modules():
            if isinstance(module, ConvBlock):
                module.fold()
        self.fc, self.fc_bn = fuse_linear_bn_eval(self.fc.eval(), self.fc_bn.eval()), nn.Identity()


class SFaceEncoder(Frozen):
    """Frozen SFace: RGB, (x - 127.5) / 128 of colours from 0 to 255, 112 px, with the length of its embedding.

    Crop and colours are those of OpenCV's FaceRecognizerSF.
    weights: face_recognition_sface_2021dec.onnx of OpenCV Zoo, or its build with weights of eight bits in blocks,
        face_recognition_sface_2021dec_int8bq.onnx.
    crop_template: alignment of the pictures it will be given.
    Raises OptionError when the file is not given, UserError when it is missing, damaged, or holds another network.
    """

    name = "SFace (OpenCV Zoo)"
    licence = "Apache-2.0"
    embedding_dim, feature_channels, feature_size = _DIM, _LAST, 7
    template, input_size = "arcface_112_v2", _SIZE

    def __init__(self, weights: str | Path | None, crop_template: str) -> None:
        super().__init__()
        if weights is None:
            raise OptionError("weights", weights, "must be a file: face_recognition_sface_2021dec.onnx of OpenCV Zoo")
        self.crop_template = check_template("crop_template", crop_template)
        self.net = build_uninitialised(SFace)
        load_strict(self.net, sface_tensors(weights), f"SFace {weights}")
        self.net.fold()
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `SFace.forward` for the maps."""
        crops = to_pm1(face_crop(images, self.crop_template, self.template, _SIZE))
        return self.net(crops * (_MIDDLE * _FACTOR))


def sface_tensors(path: str | Path) -> dict[str, Tensor]:
    """The weights of the file under the names of `SFace`, in single precision.

    Raises UserError for a file that cannot be read, and where the graph differs from that of SFace in anything.
    """
    walk = _Walk(plain_weights(read_onnx(path), path))
    try:
        return walk.network()
    except ForeignGraphError as error:
        wanted = "choose face_recognition_sface_2021dec.onnx of OpenCV Zoo, or its build int8bq"
        raise ForeignFile(path, f"is no SFace ({error}): {wanted}") from error


class _Walk(GraphWalk):
    """Follows the one chain of nodes from the picture to the embedding, and counts them."""

    followed = 0

    def network(self) -> dict[str, Tensor]:
        """All weights. Raises ForeignGraphError at the first node that does not belong."""
        x = self.scaled(self.scaled(self.picture(), "Sub", _MIDDLE), "Mul", _FACTOR)
        with torch.device("meta"):
            layers = list(SFace().named_modules())
        for name, layer in layers:
            if isinstance(layer, ConvBlock):
                x = self.block(x, name, layer)
        x = self.norm(x, "bn", _TAIL_EPS)
        x = self.step(x, "Dropout", range(2)).outputs[0]
        x = self.step(x, "Flatten", [0]).outputs[0]
        x = self.norm(self.gemm(x, "fc"), "fc_bn", _TAIL_EPS)
        if [output.name for output in self.graph.outputs] != [x] or self.followed != len(self.graph.nodes):
            raise ForeignGraphError("it does more than to compute one embedding")
        return self.tensors

    def picture(self) -> str:
        """The one input that is read; files list weights among them whose values they keep elsewhere."""
        read = [value for value in self.graph.inputs if value.name in self.users]
        if [value.shape[1:] for value in read] != [(3, _SIZE, _SIZE)]:
            shapes = [str(value.shape) for value in read[:3]] + [f"{len(read) - 3} more"] * (len(read) > 3)
            raise ForeignGraphError(f"its inputs are {', '.join(shapes) or 'none'}")
        return read[0].name

    def step(self, x: str, kind: str, weights: Sequence[int], **wanted: object) -> OnnxNode:
        """The only node that reads `x`, if it is of this kind, has that many weights and does what is wanted."""
        node = self.only(x, kind)
        if self.users[x] != [node] or node.inputs[0] != x or len(node.inputs) - 1 not in weights or not node.outputs:
            raise ForeignGraphError(f"the {kind} after {x} has other inputs, or is not alone")
        idle, defaults = _IDLE.get(kind, ()), _DEFAULTS.get(kind, {})
        given = defaults | {key: value for key, value in node.attributes.items() if key not in idle}
        wanted = defaults | wanted
        for key in sorted(given.keys() | wanted.keys()):
            found = given.get(key)
            if isinstance(found, Tensor) or found != wanted.get(key):
                raise ForeignGraphError(f"the {kind} after {x} has {key}={shown(found)}, not {shown(wanted.get(key))}")
        self.followed += 1
        return node

    def scaled(self, x: str, kind: str, number: float) -> str:
        node = self.step(x, kind, [1])
        found = self.weight(node, 1)
        if found.numel() != 1 or found.item() != number:
            raise ForeignGraphError(f"its {kind} is by {found.flatten()[:3].tolist()}, not {number}")
        return node.outputs[0]

    def block(self, x: str, name: str, layer: ConvBlock) -> str:
        conv = layer.conv
        pads = [conv.padding[0]] * 4
        node = self.step(x, "Conv", [1], strides=list(conv.stride), pads=pads, group=conv.groups)
        self.tensors[f"{name}.conv.weight"] = self.weight(node, 1)
        node = self.step(self.norm(node.outputs[0], f"{name}.bn", _EPS), "PRelu", [1])
        slopes = self.weight(node, 1)
        if slopes.shape[1:] != (1, 1):
            raise ForeignGraphError(f"the PRelu after {node.inputs[0]} has slopes of {tuple(slopes.shape)}")
        self.tensors[f"{name}.prelu.weight"] = slopes.flatten()
        return node.outputs[0]

    def norm(self, x: str, name: str, eps: float) -> str:
        node = self.step(x, "BatchNormalization", [4], epsilon=eps)
        for position, key in enumerate(("weight", "bias", "running_mean", "running_var"), 1):
            self.tensors[f"{name}.{key}"] = self.weight(node, position)
        return node.outputs[0]

    def gemm(self, x: str, name: str) -> str:
        node = self.step(x, "Gemm", [2], transB=1)
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = self.weight(node, 1), self.weight(node, 2)
        return node.outputs[0]
