"""FaceShifter's AEI-Net in the layout of maum-ai/faceshifter: for those who trained their own, none was published."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from idn.errors import OptionError
from idn.frozen import build_uninitialised
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.published.aei import (
    DOWN,
    SIZE,
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

FAMILY = "FaceShifter (maum-ai)"
_TERMS = FAMILIES["faceshifter"]
RECORD = TeacherRecord(
    name="faceshifter",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(_TERMS.size, "ffhq"),
    source=SourceInput("image", FaceInput(SIZE, "ffhq")),
)
"""What a FaceShifter declares about itself. Its own recogniser looks at the source, in the framing of the target."""
_RESNET_101 = (3, 4, 23, 3)
_IDENTITY_SIZE = 112


class AttributeEncoder(nn.Module):
    """U-Net over the target. down, up: channels after each halving and doubling; 67.09 M parameters as published."""

    def __init__(self, down: Sequence[int] = DOWN, up: Sequence[int] = UP) -> None:
        super().__init__()
        self.channels = (down[-1], *(u + d for u, d in zip(up, down[-2::-1], strict=True)), up[-1] + down[0])
        self.Encoder = nn.ModuleDict({f"layer_{i}": halving(*c, bias=True) for i, c in enumerate(pairwise((3, *down)))})
        self.Decoder = nn.ModuleDict(
            {
                f"layer_{i}": doubling(*c, True, ("0", "1"))
                for i, c in enumerate(zip(self.channels[: len(up)], up, strict=True))
            }
        )

    def forward(self, target: Tensor) -> list[Tensor]:
        """(N, 3, 256, 256) RGB in [0, 1] -> eight maps of `channels` channels, from 2 px to 256 px."""
        return pyramid(target, self.Encoder.values(), self.Decoder.values(), concatenate)


class AadLayer(nn.Module):
    """Attention between attributes and identity, with a mask of its own for each of `c` channels.

    c_attributes: channels of the attribute map. c_identity: length of the identity vector.
    """

    def __init__(self, c: int, c_attributes: int, c_identity: int) -> None:
        super().__init__()
        self.BNorm = nn.BatchNorm2d(c)
        self.conv_f = nn.Conv2d(c, c, 3, padding=1)
        self.fc_1 = nn.Linear(c_identity, c)
        self.fc_2 = nn.Linear(c_identity, c)
        self.conv1 = nn.Conv2d(c_attributes, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c_attributes, c, 3, padding=1)

    def forward(self, h: Tensor, attributes: Tensor, identity: Tensor) -> Tensor:
        """h: (N, c, H, W). attributes: (N, c_attributes, H, W). identity: (N, c_identity). Returns (N, c, H, W)."""
        h = self.BNorm(h)
        by_attributes = self.conv1(attributes), self.conv2(attributes)
        return denormalise(h, self.conv_f(h).sigmoid(), by_attributes, (self.fc_1(identity), self.fc_2(identity)))


class AadBlock(nn.Module):
    """Two denormalisations with a convolution after each, and a third one on the shortcut when channels change."""

    def __init__(self, c_in: int, c_out: int, c_attributes: int, c_identity: int) -> None:
        super().__init__()
        self.add1 = AadLayer(c_in, c_attributes, c_identity)
        self.conv1 = nn.Conv2d(c_in, c_in, 3, padding=1)
        self.add2 = AadLayer(c_in, c_attributes, c_identity)
        self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.changes = c_in != c_out
        if self.changes:
            self.add3 = AadLayer(c_in, c_attributes, c_identity)
            self.conv3 = nn.Conv2d(c_in, c_out, 3, padding=1)

    def forward(self, h: Tensor, attributes: Tensor, identity: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W); attributes and identity as in `AadLayer`."""
        x = self.conv1(self.add1(h, attributes, identity).relu())
        x = self.conv2(self.add2(x, attributes, identity).relu())
        return x + (self.conv3(self.add3(h, attributes, identity).relu()) if self.changes else h)


class Generator(nn.Module):
    """Identity to picture. attributes, widths: channels of the map and of what enters, for each block; 372.2 M
    parameters as published. identity: length of the identity vector."""

    def __init__(self, attributes: Sequence[int], widths: Sequence[int] = WIDTHS, identity: int = 256) -> None:
        super().__init__()
        self.convt = nn.ConvTranspose2d(identity, widths[0], 2)
        plan = zip(widths, (*widths[1:], 3), attributes, strict=True)
        self.model = nn.ModuleDict({f"layer_{i}": AadBlock(*channels, identity) for i, channels in enumerate(plan)})

    def forward(self, identity: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """identity: (N, identity), L2-normalised. maps: as `AttributeEncoder` gives them.
        Returns (N, 3, 256, 256) in (0, 1)."""
        return generate(self.convt(identity[:, :, None, None]), self.model.values(), maps, identity).sigmoid()


class AeiNet(nn.Module):
    """Encoder E, generator G and recogniser Z, under the keys of a training checkpoint.

    down, up, widths: channels of E and G. identity: length of the vector between Z and G. depths: bottleneck blocks
    in the four stages of Z, a torchvision ResNet: 101 layers as published.
    """

    def __init__(
        self,
        down: Sequence[int] = DOWN,
        up: Sequence[int] = UP,
        widths: Sequence[int] = WIDTHS,
        identity: int = 256,
        depths: Sequence[int] = _RESNET_101,
    ) -> None:
        super().__init__()
        self.E = AttributeEncoder(down, up)
        self.G = Generator(self.E.channels, widths, identity)
        self.Z = ResNet(Bottleneck, list(depths), num_classes=identity)

    def recognise(self, source: Tensor) -> Tensor:
        """(N, 3, 256, 256) RGB in [0, 1] -> (N, identity), L2-normalised. Shrinks to 112 px without averaging, as in
        training."""
        small = F.interpolate(source, size=_IDENTITY_SIZE, mode="bilinear", align_corners=False)
        return F.normalize(self.Z(small))

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """target, source: (N, 3, 256, 256) RGB in [0, 1]. Returns (N, 3, 256, 256) in (0, 1): the swap.

        Raises ValueError for other shapes.
        """
        identity = self.recognise(source)
        check_inputs(target, identity, self.G.convt.in_channels)
        return self.G(identity, self.E(target))


class FaceShifterTeacher(FrozenTeacher):
    """A FaceShifter of your own, 256 px.

    weights: the Lightning checkpoint of its training: E, G, Z, and a discriminator D, which is left out. Channel counts
    and the depth of Z are read from it.
    crop_template: template of the crops given.
    identity_weights: the recogniser alone, a plain torchvision state dict, for a checkpoint that was stripped of Z.
    Raises UserError when a file is missing or does not fit, naming the tensors, and when Z is given twice or never.
    """

    def __init__(
        self, weights: str | Path | None, crop_template: str, identity_weights: str | Path | None = None
    ) -> None:
        super().__init__(RECORD, crop_template)
        tensors = read_network(weights, RECORD, FAMILY)
        tensors = {key: value for key, value in tensors.items() if not key.startswith("D.")}
        tensors |= _recogniser(tensors, weights, identity_weights)
        files = f"{weights} with {identity_weights}" if identity_weights else f"{weights}"
        self.net = build_uninitialised(lambda: network_for(tensors, f"{FAMILY} file {files}"))
        load_network(self.net, tensors, files, FAMILY)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, 256, 256) RGB in [0, 1]. Returns (N, 3, 256, 256) in (0, 1)."""
        return self.net(target, self.source_crop(batch))


def network_for(tensors: Mapping[str, Tensor], file: str) -> AeiNet:
    """The network whose channel counts and depths those of `tensors` are. Raises UserError if it cannot be told."""
    down = [width(tensors, f"E.Encoder.layer_{i}.0.weight", 0, file) for i in range(len(DOWN))]
    up = [width(tensors, f"E.Decoder.layer_{i}.0.weight", 1, file) for i in range(len(UP))]
    widths = [width(tensors, f"G.model.layer_{i}.add1.fc_1.weight", 0, file) for i in range(len(WIDTHS))]
    blocks = repeats(tensors, r"Z\.layer(\d)\.(\d+)\.")
    depths = [blocks[f"{stage}"] for stage in range(1, len(_RESNET_101) + 1)]
    return AeiNet(down, up, widths, width(tensors, "G.convt.weight", 0, file), depths)


def _recogniser(
    tensors: Mapping[str, Tensor], weights: str | Path | None, identity_weights: str | Path | None
) -> dict[str, Tensor]:
    """The tensors of Z out of a file of their own, if there is one; empty otherwise."""
    inside = any(key.startswith("Z.") for key in tensors)
    if inside and identity_weights is not None:
        raise OptionError(
            "identity_weights", identity_weights, f"must be left out: {weights} brings its own recogniser"
        )
    if not inside and identity_weights is None:
        raise OptionError(
            "identity_weights",
            None,
            f"must be a file: {weights} holds no tensors Z.* of a recogniser, unlike the whole checkpoint of the "
            "training",
        )
    if identity_weights is None:
        return {}
    alone = read_network(identity_weights, RECORD, "the recogniser of a FaceShifter")
    return {f"Z.{key}": value for key, value in alone.items()}
