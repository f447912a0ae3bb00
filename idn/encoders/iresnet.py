"""iResNet of insightface: ArcFace networks such as w600k_r50 of buffalo_l, glintr100 and ms1mv3_r100."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from idn.encoders.graph_walk import ForeignGraphError, GraphWalk
from idn.encoders.input_crop import check_template, face_crop
from idn.errors import ForeignFile, OptionError
from idn.files.onnx_graph import OnnxGraph, read_onnx
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen, build_uninitialised
from idn.images import to_pm1
from idn.types import IdentityFeatures

_SIZE = 112
_EPS = 1e-5
_CHANNELS = (64, 128, 256, 512)
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 200: (6, 26, 60, 6)}
"""Number in the published name -> blocks of the four stages."""


class IBasicBlock(nn.Module):
    """Residual block with a BatchNorm before, between and after two 3x3 convolutions (arXiv:1801.07698).

    The sum is not activated. The second convolution carries the stride, and so does the 1x1 shortcut if one is needed.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in, _EPS)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out, _EPS)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out, _EPS)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(c_out, _EPS))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H / stride), ceil(W / stride))."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """iResNet for crops of `size` pixels; module names are those of the published files.

    blocks, channels: of the four stages, each of which halves the map; the stem has the channels of the first.
    With the default channels iResNet-50 has 43,590,848 parameters and iResNet-100 has 65,156,160.
    Inference only: the dropout before the last layer, which does nothing there, is left out.
    """

    def __init__(
        self, blocks: Sequence[int], channels: Sequence[int] = _CHANNELS, embedding_dim: int = 512, size: int = _SIZE
    ) -> None:
        super().__init__()
        c_in = channels[0]
        self.conv1 = nn.Conv2d(3, c_in, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in, _EPS)
        self.prelu = nn.PReLU(c_in)
        for number, (depth, c_out) in enumerate(zip(blocks, channels, strict=True), 1):
            layer = nn.Sequential()
            for index in range(depth):
                layer.append(IBasicBlock(c_in, c_out, 2 if index == 0 else 1))
                c_in = c_out
            self.add_module(f"layer{number}", layer)
        self.bn2 = nn.BatchNorm2d(c_in, _EPS)
        self.fc = nn.Linear(c_in * (size // 16) ** 2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim, _EPS)
        self.features.weight.requires_grad = False

    def forward(self, crops: Tensor) -> IdentityFeatures:
        """crops: (N, 3, size, size) RGB in [-1, 1].

        features: (N, 512, size / 16, size / 16) after the last BatchNorm, exactly what the fully connected layer reads;
        shallow: (N, 64, size, size) of the stem, then the outputs of the first two stages, at a half and a quarter.
        """
        stem = self.prelu(self.bn1(self.conv1(crops)))
        first = self.layer1(stem)
        second = self.layer2(first)
        features = self.bn2(self.layer4(self.layer3(second)))
        embedding = self.features(self.fc(features.flatten(1))).float()
        length = embedding.norm(dim=1)
        unit = embedding / length.clamp_min(1e-12)[:, None]
        return IdentityFeatures(unit, features, (stem, first, second), length)


class IResNetEncoder(Frozen):
    """Frozen insightface recogniser: RGB in [-1, 1], 112 px, 512-d, with the length of its embedding.

    weights: a state dict (backbone.pth, safetensors), a checkpoint that holds the network under a prefix, or the ONNX
    file of an insightface pack, such as w600k_r50.onnx or glintr100.onnx. name: what teachers that read its embedding
    call it. depth: the number in "iResNet-50", see DEPTHS. licence: of the weights.
    crop_template, template: alignment of the pictures it will be given, and of the crop it was trained on.
    Raises UserError when the file is not given, missing, or holds another network or another depth.
    """

    embedding_dim = 512
    feature_channels = 512
    feature_size = 7
    input_size = _SIZE

    def __init__(
        self,
        weights: str | Path | None,
        crop_template: str,
        name: str,
        depth: int = 50,
        template: str = "arcface_112_v2",
        licence: str = "insightface: non-commercial research",
    ) -> None:
        super().__init__()
        if weights is None:
            raise OptionError("weights", weights, "must be a file: backbone.pth or w600k_r50.onnx of insightface")
        if depth not in DEPTHS:
            raise OptionError("depth", depth, f"is no iResNet: choose one of {', '.join(map(str, DEPTHS))}")
        self.name, self.licence = name, licence
        self.crop_template, self.template = (
            check_template("crop_template", crop_template),
            check_template("template", template),
        )
        tensors = iresnet_tensors(weights)
        _check_depth(tensors, depth, weights)
        self.net = build_uninitialised(lambda: IResNet(DEPTHS[depth]))
        load_strict(self.net, tensors, f"iResNet {weights}")
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `IResNet.forward` for the maps."""
        return self.net(to_pm1(face_crop(images, self.crop_template, self.template, _SIZE)))


def iresnet_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a published iResNet, under the names of `IResNet`. A file whose name ends in .onnx is read as ONNX.

    In other files the network may lie under a prefix ("module.", "generator.id_extractor.f_id."): the first one is
    taken, and everything outside it is left. Raises UserError for a file that cannot be read or is no iResNet.
    """
    path = Path(str(path))
    if path.suffix.lower() == ".onnx":
        return tensors_of_graph(read_onnx(path), path)
    tensors = read_tensors(path)
    found = (re.fullmatch(r"(.*?)layer[1-4]\.\d+\.prelu\.weight", key) for key in tensors)
    prefix = next((match[1] for match in found if match), "")
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def tensors_of_graph(graph: OnnxGraph, path: str | Path) -> dict[str, Tensor]:
    """The weights of an exported iResNet under the names of `IResNet`, found by following the data.

    A BatchNorm that the export folded into a convolution or into the last layer becomes one that only adds what is left
    of it. path: named in errors. Raises UserError where the graph does something that an iResNet does not.
    """
    walk = _Walk(graph, ("Identity", "Dropout", "Flatten", "Reshape", "Cast"))
    try:
        return walk.network()
    except ForeignGraphError as error:
        raise ForeignFile(path, f"is no iResNet ({error}): choose an ArcFace network of insightface") from error


def _check_depth(tensors: dict[str, Tensor], depth: int, path: str | Path) -> None:
    found = [match for key in tensors if (match := re.match(r"layer([1-4])\.(\d+)\.", key))]
    blocks = tuple(max((int(m[2]) + 1 for m in found if int(m[1]) == stage), default=0) for stage in range(1, 5))
    if blocks == DEPTHS[depth]:
        return
    meant = next((name for name, known in DEPTHS.items() if known == blocks), None)
    if meant is None:
        raise ForeignFile(
            path, f"is no iResNet: its stages have {blocks} blocks, those of iResNet-{depth} {DEPTHS[depth]}"
        )
    raise ForeignFile(path, f"holds iResNet-{meant}, not iResNet-{depth}: set depth={meant} or choose another file")


class _Walk(GraphWalk):
    """Follows the data through an exported iResNet and collects its weights."""

    def network(self) -> dict[str, Tensor]:
        """All weights. Raises ForeignGraphError at the first node that does not belong."""
        x = self.conv(self.graph.inputs[0].name, "conv1", "bn1")
        x = self.prelu(x, "prelu")
        stage = index = 0
        while len(self.users.get(x, ())) > 1:
            starts = any(node.kind == "Conv" for node in self.users[x])
            stage, index = (stage + 1, 0) if starts else (stage, index + 1)
            x = self.block(x, f"layer{stage}.{index}", starts)
        x = self.gemm(self.norm(x, "bn2"), "fc")
        if self.users.get(x):
            x = self.norm(x, "features")
        else:
            self.leave_bias("features", torch.zeros_like(self.tensors["fc.bias"]))
        if x != self.source(self.graph.outputs[0].name):
            raise ForeignGraphError("it goes on after the embedding")
        return self.tensors

    def block(self, x: str, name: str, starts: bool) -> str:
        y = self.conv(self.norm(x, f"{name}.bn1"), f"{name}.conv1", f"{name}.bn2")
        y = self.conv(self.prelu(y, f"{name}.prelu"), f"{name}.conv2", f"{name}.bn3", 2 if starts else 1)
        if starts:
            x = self.conv(x, f"{name}.downsample.0", f"{name}.downsample.1", 2)
        total = self.only(y, "Add")
        if {self.source(term) for term in total.inputs} != {x, y}:
            raise ForeignGraphError(f"{name} adds something else than its input")
        return total.outputs[0]

    def conv(self, x: str, name: str, norm: str, stride: int = 1) -> str:
        node = self.only(x, "Conv")
        weight = self.tensors[f"{name}.weight"] = self.weight(node, 1)
        padding = weight.shape[-1] // 2
        geometry = ([stride] * 2, [padding] * 4, [1, 1], 1)
        defaults = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
        if tuple(node.attributes.get(key, value) for key, value in defaults.items()) != geometry:
            raise ForeignGraphError(f"{name} has another stride or padding")
        y = node.outputs[0]
        if len(node.inputs) > 2:
            self.leave_bias(norm, self.weight(node, 2))
            return y
        return self.norm(y, norm)

    def norm(self, x: str, name: str) -> str:
        node = self.only(x, "BatchNormalization")
        for position, key in enumerate(("weight", "bias", "running_mean", "running_var"), 1):
            self.tensors[f"{name}.{key}"] = self.weight(node, position)
        self.tensors[f"{name}.running_var"] += float(node.attributes.get("epsilon", _EPS)) - _EPS
        return node.outputs[0]

    def prelu(self, x: str, name: str) -> str:
        node = self.only(x, "PRelu")
        self.tensors[f"{name}.weight"] = self.weight(node, 1).flatten()
        return node.outputs[0]

    def gemm(self, x: str, name: str) -> str:
        node = self.only(x, "Gemm")
        weight = self.weight(node, 1)
        self.tensors[f"{name}.weight"] = weight if node.attributes.get("transB", 0) else weight.T.contiguous()
        self.tensors[f"{name}.bias"] = self.weight(node, 2)
        return node.outputs[0]

    def leave_bias(self, norm: str, bias: Tensor) -> None:
        """A BatchNorm that was folded: all that it still does is add `bias`."""
        values = (torch.ones_like(bias), bias, torch.zeros_like(bias), torch.full_like(bias, 1 - _EPS))
        for key, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            self.tensors[f"{norm}.{key}"] = value
