"""GHOST (ai-forever/ghost): FaceShifter's AEI-Net with other encoders, block counts and normalisation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import add
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from idn.frozen import build_uninitialised
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.published.aei import (
    DOWN,
    UP,
    WIDTHS,
    check_inputs,
    concatenate,
    denormalise,
    doubling,
    generate,
    halving,
    pyramid,
    repeats,
    width,
)
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import load_network, read_network

FAMILY = "GHOST"
_HALF = (0.5, 0.5, 0.5)
_TERMS = FAMILIES["ghost"]
RECORD = TeacherRecord(
    name="ghost",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(_TERMS.size, "arcface_112_v1", _HALF, _HALF),
    source=SourceInput("own_embedding", encoder="ghost_r100", dim=512, unit_length=False),
    output_mean=_HALF,
    output_std=_HALF,
)
"""What a GHOST declares about itself. It was published and run in float16."""
PLANES = (32, 64, 128, 256, 512, 256)
"""A quarter of the channels after each stage of the published ResNet encoder."""
_BLOCKS_PER_STAGE = 2
_EXPANSION = 4


class PyramidEncoder(nn.Module):
    """U-Net over the target, or LinkNet, which adds its skips.

    down, up: channels after each halving and doubling. adds: LinkNet. 67.09 M and 55.9 M parameters as published.
    """

    def __init__(self, down: Sequence[int] = DOWN, up: Sequence[int] = UP, adds: bool = False) -> None:
        super().__init__()
        joined = [u if adds else u + d for u, d in zip(up, down[-2::-1], strict=True)]
        self.channels = (down[-1], *joined, joined[-1])
        self.join = add if adds else concatenate
        for i, channels in enumerate(pairwise((3, *down)), 1):
            self.add_module(f"conv{i}", halving(*channels, bias=False))
        for i, channels in enumerate(zip(self.channels[: len(up)], up, strict=True), 1):
            self.add_module(f"deconv{i}", doubling(*channels, False, ("deconv", "bn")))

    def forward(self, target: Tensor) -> list[Tensor]:
        """(N, 3, 256, 256) in [-1, 1] -> eight maps of `channels` channels, from 2 px to 256 px."""
        layers = dict(self.named_children())
        down, up = ([layers[key] for key in layers if key.startswith(name)] for name in ("conv", "deconv"))
        return pyramid(target, down, up, self.join)


class Bottleneck(nn.Module):
    """Residual block (arXiv:1512.03385) with its stride in front. planes: a quarter of its output channels."""

    def __init__(self, c_in: int, planes: int, stride: int) -> None:
        super().__init__()
        c_out = planes * _EXPANSION
        self.conv1 = nn.Conv2d(c_in, planes, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 4 * planes, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class ResNetEncoder(nn.Module):
    """Eight scales of a residual network, nothing is unfolded again.

    stem: channels at 256 px and 128 px. planes: see PLANES. 18.8 M parameters as published.
    """

    def __init__(self, stem: int = 64, planes: Sequence[int] = PLANES) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, stem, 7, padding=3, bias=False)
        self.bn0 = nn.BatchNorm2d(stem)
        self.conv1 = nn.Conv2d(stem, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        c_in = stem
        for i, number in enumerate(planes, 1):
            stage = nn.Sequential()
            for index in range(_BLOCKS_PER_STAGE):
                stage.append(Bottleneck(c_in, number, 1 if index else 2))
                c_in = number * _EXPANSION
            self.add_module(f"layer{i}", stage)
        self.channels = (*(number * _EXPANSION for number in reversed(planes)), stem, stem)

    def forward(self, target: Tensor) -> list[Tensor]:
        """(N, 3, 256, 256) in [-1, 1] -> eight maps of `channels` channels, from 2 px to 256 px."""
        whole = self.bn0(self.conv0(target)).relu()
        maps = [whole, self.bn1(self.conv1(whole)).relu()]
        for name, stage in self.named_children():
            if name.startswith("layer"):
                maps.append(stage(maps[-1]))
        return maps[::-1]


class AadLayer(nn.Module):
    """Attention between attributes and identity, with one mask for all of `c` channels.

    c_attributes: channels of the attribute map. c_identity: length of the embedding.
    """

    def __init__(self, c: int, c_attributes: int, c_identity: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_attributes, c, 1)
        self.conv2 = nn.Conv2d(c_attributes, c, 1)
        self.fc1 = nn.Linear(c_identity, c)
        self.fc2 = nn.Linear(c_identity, c)
        self.conv_h = nn.Conv2d(c, 1, 1)

    def forward(self, h: Tensor, attributes: Tensor, identity: Tensor) -> Tensor:
        """h: (N, c, H, W). attributes: (N, c_attributes, H, W). identity: (N, c_identity). Returns (N, c, H, W)."""
        h = F.instance_norm(h, eps=1e-5)
        by_attributes = self.conv1(attributes), self.conv2(attributes)
        return denormalise(h, self.conv_h(h).sigmoid(), by_attributes, (self.fc1(identity), self.fc2(identity)))


class AadBlock(nn.Module):
    """`blocks` denormalisations with a convolution after each, one more on the shortcut when channels change."""

    def __init__(self, c_in: int, c_out: int, c_attributes: int, c_identity: int, blocks: int) -> None:
        super().__init__()
        steps = [_step(c_in, c_in, c_attributes, c_identity) for _ in range(blocks - 1)]
        steps.append(_step(c_in, c_out, c_attributes, c_identity))
        self.add_blocks = nn.ModuleList(layer for step in steps for layer in step)
        self.last_add_block = nn.ModuleList(_step(c_in, c_out, c_attributes, c_identity) if c_in != c_out else ())

    def forward(self, h: Tensor, attributes: Tensor, identity: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W); attributes and identity as in `AadLayer`."""
        return _walk(self.add_blocks, h, attributes, identity) + _walk(self.last_add_block, h, attributes, identity)


def _step(c_in: int, c_out: int, c_attributes: int, c_identity: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return AadLayer(c_in, c_attributes, c_identity), nn.ReLU(inplace=True), conv


def _walk(layers: Iterable[nn.Module], h: Tensor, attributes: Tensor, identity: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h, attributes, identity) if isinstance(layer, AadLayer) else layer(h)
    return h


class Generator(nn.Module):
    """Identity to picture. attributes, widths: channels of the map and of what enters, for each of the eight levels.
    blocks: denormalisations per level. identity: length of the embedding."""

    def __init__(self, attributes: Sequence[int], widths: Sequence[int], blocks: int, identity: int) -> None:
        super().__init__()
        self.up1 = nn.ConvTranspose2d(identity, widths[0], 2)
        for i, channels in enumerate(zip(widths, (*widths[1:], 3), attributes, strict=True), 1):
            self.add_module(f"AADBlk{i}", AadBlock(*channels, identity, blocks))

    def forward(self, identity: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """identity: (N, identity), of its own length. maps: as the encoders give them.
        Returns (N, 3, 256, 256) in (-1, 1)."""
        start, *levels = self.children()
        return generate(start(identity[:, :, None, None]), levels, maps, identity).tanh()


class GhostNet(nn.Module):
    """An attribute encoder and a generator, under the published keys.

    encoder: PyramidEncoder or ResNetEncoder. widths: channels that enter each level of the generator. blocks:
    denormalisations per level, 1 to 3 as published. identity: length of the embedding.
    """

    def __init__(
        self,
        encoder: PyramidEncoder | ResNetEncoder,
        widths: Sequence[int] = WIDTHS,
        blocks: int = 2,
        identity: int = 512,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.generator = Generator(encoder.channels, widths, blocks, identity)
        self.identity, self.blocks = identity, blocks

    def forward(self, target: Tensor, identity: Tensor) -> Tensor:
        """target: (N, 3, 256, 256) RGB in [-1, 1]. identity: (N, identity), not normalised. Returns (N, 3, 256, 256) in
        (-1, 1): the swap. Raises ValueError for other shapes."""
        check_inputs(target, identity, self.identity)
        return self.generator(identity, self.encoder(target))


class GhostTeacher(FrozenTeacher):
    """GHOST, 256 px: a U-Net, LinkNet or ResNet encoder and 1 to 3 blocks, whichever the file holds.

    weights: G_unet_2blocks.pth, its relatives, or one trained with their code.
    crop_template: template of the crops given.
    encoder: the recogniser that it was trained with, giving embeddings with their length; None if the encoder that
    serves the student is that one.
    Raises UserError when the file is missing or does not fit, naming the tensors, and for another recogniser.
    """

    def __init__(self, weights: str | Path | None, crop_template: str, encoder: IdentityEncoder | None = None) -> None:
        tensors = read_network(weights, RECORD, FAMILY)
        network = build_uninitialised(lambda: network_for(tensors, f"{FAMILY} file {weights}"))
        kind = "shared_embedding" if encoder is None else "own_embedding"
        source = replace(RECORD.source, kind=kind, dim=network.identity)
        super().__init__(replace(RECORD, source=source, variant=_variant(network)), crop_template, encoder)
        self.net = network
        load_network(self.net, tensors, f"{weights}", FAMILY)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, 256, 256) RGB in [-1, 1]. Returns (N, 3, 256, 256) in (-1, 1)."""
        return self.net(target, self.identity(batch, source))


def network_for(tensors: Mapping[str, Tensor], file: str) -> GhostNet:
    """The network whose kind, blocks and channel counts those of `tensors` are.

    Raises UserError if they cannot be told.
    """
    names = [f"generator.AADBlk{i}.add_blocks" for i in range(1, len(WIDTHS) + 1)]
    widths = [width(tensors, f"{name}.0.fc1.weight", 0, file) for name in names]
    blocks = max(repeats(tensors, r"generator\.AADBlk(\d)\.add_blocks\.(\d+)\.(?:conv|fc)").values())
    return GhostNet(_encoder_for(tensors, file), widths, blocks, width(tensors, "generator.up1.weight", 0, file))


def _encoder_for(tensors: Mapping[str, Tensor], file: str) -> PyramidEncoder | ResNetEncoder:
    if any(key.startswith("encoder.layer") for key in tensors):
        stages = range(1, len(PLANES) + 1)
        planes = [width(tensors, f"encoder.layer{i}.0.conv1.weight", 0, file) for i in stages]
        return ResNetEncoder(width(tensors, "encoder.conv0.weight", 0, file), planes)
    down = [width(tensors, f"encoder.conv{i}.0.weight", 0, file) for i in range(1, len(DOWN) + 1)]
    up = [width(tensors, f"encoder.deconv{i}.deconv.weight", 1, file) for i in range(1, len(UP) + 1)]
    adds = up == down[-2::-1] and width(tensors, "encoder.deconv2.deconv.weight", 0, file) == up[0]
    return PyramidEncoder(down, up, adds)


def _variant(network: GhostNet) -> str:
    """Such as "unet, 2 blocks"."""
    if isinstance(network.encoder, ResNetEncoder):
        kind = "resnet"
    else:
        kind = "linknet" if network.encoder.join is add else "unet"
    return f"{kind}, {network.blocks} block{'s' if network.blocks > 1 else ''}"
