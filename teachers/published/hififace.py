"""HifiFace of maum-ai (arXiv:2106.09965), and the Deep3DFaceRecon network that tells it the shape of faces."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from idn.errors import ForeignFile, OptionError
from idn.files.tensors import read_tensors
from idn.frozen import Frozen, build_uninitialised
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.published.hififace_net import IDENTITY_DIM, SHAPE_DIM, WIDTH, HifiFaceNet
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import load_network, read_network, recognise

FAMILY = "HifiFace (maum-ai)"
SHAPE_FAMILY = "Deep3DFaceRecon"
COEFFICIENTS = {"identity": 80, "expression": 64, "texture": 80, "angle": 3, "light": 27, "shift": 2, "depth": 1}
"""What the 257 numbers of a face are, in this order. HifiFace takes the first 80 from the source, the rest not."""
_TERMS = FAMILIES["hififace"]
RECORD = TeacherRecord(
    name="hififace",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    variant="maum-ai",
    target=FaceInput(_TERMS.size, "ffhq"),
    source=SourceInput("own_embedding", encoder="ms1mv3_r100", dim=IDENTITY_DIM),
    returns_mask=True,
)
"""What HifiFace declares about itself."""

_GENERATOR = "generator."
_OTHERS = ("generator.id_extractor.", "discriminator.", "g_loss.")
"""What else the checkpoint of its training holds."""
_SHAPE_PREFIX = "generator.id_extractor.f_3d."
_DEPTHS = [3, 4, 6, 3]


class HifiFaceTeacher(FrozenTeacher):
    """HifiFace, 256 px: identity and facial shape of the source; expression, pose and light of the target.

    Its training crops came from 3DDFA_V2 by code that was never released. FFHQ framing stands in for them here, which
    is a guess: results may fall short of the published ones.

    weights: hififace_opensouce_299999.ckpt, or another checkpoint of its training; the discriminator, the losses and
    the two frozen networks in it are left out, its channel count is read from it.
    crop_template: template of the crops given.
    shape: module that turns (N, 3, 256, 256) RGB in [0, 1], cut like the target, into (N, 257), see COEFFICIENTS.
    encoder: the recogniser that it was trained with, which was shown the whole crop (template ffhq); None if the
    encoder that serves the student is that one.
    Raises UserError when the file is missing or does not fit, naming the tensors, and for another recogniser.
    """

    def __init__(
        self, weights: str | Path | None, crop_template: str, shape: nn.Module, encoder: IdentityEncoder | None = None
    ) -> None:
        kind = "shared_embedding" if encoder is None else "own_embedding"
        super().__init__(replace(RECORD, source=replace(RECORD.source, kind=kind)), crop_template, encoder)
        tensors = generator_tensors(read_network(weights, RECORD, FAMILY))
        self.shape = shape
        self.net = build_uninitialised(lambda: HifiFaceNet(_width(tensors)))
        load_network(self.net, tensors, f"{weights}", FAMILY)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, 256, 256) RGB in [0, 1]. Returns (N, 3, 256, 256) in [0, 1], fused with the target."""
        crops = self.record.target.cut(batch.source, self.crop_template)
        vector = torch.cat([self._fused_shape(crops, target), self.identity(batch, source)], 1)
        return self.net(target, vector)[0]

    def _fused_shape(self, source: Tensor, target: Tensor) -> Tensor:
        """(N, 257): the shape of the source's face in everything else that is said of the target's."""
        coefficients = self.shape(torch.cat([source, target])).float()
        if coefficients.shape != (2 * len(target), SHAPE_DIM):
            raise ValueError(f"shape: expected (N, {SHAPE_DIM}), got {tuple(coefficients.shape)}")
        theirs, ours = coefficients.chunk(2)
        own = COEFFICIENTS["identity"]
        return torch.cat([theirs[:, :own], ours[:, own:]], 1)


class Deep3DNet(nn.Module):
    """Deep3DFaceRecon_pytorch's regressor: a ResNet-50 and one linear layer per group of COEFFICIENTS, 24.03 M
    parameters. Module names are those of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(Bottleneck, _DEPTHS)
        channels = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(channels, number, 1) for number in COEFFICIENTS.values())

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] -> (N, 257)."""
        pooled = self.backbone(images)[:, :, None, None]
        return torch.cat([layer(pooled) for layer in self.final_layers], 1).flatten(1)


class Deep3DShape(Frozen):
    """Frozen Deep3DFaceRecon: crops -> coefficients of a 3D morphable model. BFM licence: academic use only.

    weights: its epoch_20.pth, or a checkpoint of HifiFace, which brings a copy. Take the copy for HifiFace: BatchNorm
    statistics of these networks went on moving during its training, and it was published with those.
    Raises UserError when the file is not given, missing, or holds another network.
    """

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        if weights is None:
            raise OptionError("weights", None, "must be the checkpoint of HifiFace or Deep3DFaceRecon's epoch_20.pth")
        tensors = read_tensors(weights)
        found = recognise(tensors)
        if found not in (None, FAMILY, SHAPE_FAMILY):
            raise ForeignFile(
                weights, f"holds {found}, not {SHAPE_FAMILY}: choose epoch_20.pth or HifiFace's checkpoint", found
            )
        if found == FAMILY:
            tensors = {k.removeprefix(_SHAPE_PREFIX): v for k, v in tensors.items() if k.startswith(_SHAPE_PREFIX)}
        self.net = build_uninitialised(Deep3DNet)
        load_network(self.net, tensors, weights, SHAPE_FAMILY)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1], at the size given -> (N, 257)."""
        return self.net(images)


def generator_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What HifiFaceNet loads out of a checkpoint, under its names. Keys that no HifiFace has stay, to be refused."""
    return {key.removeprefix(_GENERATOR): value for key, value in tensors.items() if not key.startswith(_OTHERS)}


def _width(tensors: Mapping[str, Tensor]) -> int:
    """Channels of the first convolution, as published if they make no network."""
    first = tensors.get("encoder.conv_first.weight")
    fits = first is not None and first.ndim == 4 and len(first) % 8 == 0
    return len(first) if fits else WIDTH
