"""inswapper_128 of insightface as a torch network: the published file takes one face at a time, this takes batches."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import ForeignFile, OptionError
from idn.files.tensors import read_tensors
from idn.images import to_01
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.onnx.embedding_map import Convention, LinearMap
from teachers.onnx.layers import ConvPlan
from teachers.published.inswapper_graph import InswapperPlan, StylePlan, read_inswapper
from teachers.published.simswap import instance_norm
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import recognise, verify_file

_TERMS = FAMILIES["inswapper"]
RECORD = TeacherRecord(
    name="inswapper_128",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(_TERMS.size, "arcface_128"),
    source=SourceInput("own_embedding", encoder="w600k_r50", dim=512),
)


class PlannedConv(nn.Conv2d):
    """A convolution as its plan says, and the activation after it."""

    def __init__(self, plan: ConvPlan) -> None:
        mode = "reflect" if plan.reflect else "zeros"
        super().__init__(plan.c_in, plan.c_out, plan.kernel, plan.stride, plan.kernel // 2, padding_mode=mode)
        self.slope = plan.slope

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        return _leaky(super().forward(x), self.slope)


class StyledConv(nn.Module):
    """Convolution, instance norm, gamma * x + beta with both from the identity, activation."""

    def __init__(self, plan: StylePlan, dim: int) -> None:
        super().__init__()
        self.conv = PlannedConv(plan.conv._replace(slope=None))
        self.linear = nn.Linear(dim, 2 * plan.conv.c_out)
        self.eps, self.slope = plan.eps, plan.conv.slope

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: (N, C, H, W), identity: (N, dim). The scale is gamma itself, not gamma + 1."""
        gamma, beta = self.linear(identity)[:, :, None, None].chunk(2, 1)
        return _leaky(gamma * instance_norm(self.conv(x), self.eps) + beta, self.slope)


class InswapperNet(nn.Module):
    """Encoder to a quarter of the size, residual style blocks, decoder; 138.29 M parameters as published.

    plan: every detail, as `read_inswapper` finds it in a file.
    """

    def __init__(self, plan: InswapperPlan) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*map(PlannedConv, plan.encoder))
        self.styles = nn.ModuleList(
            nn.ModuleList(StyledConv(style, plan.dim) for style in pair) for pair in plan.styles
        )
        self.decoder = nn.ModuleList(map(PlannedConv, plan.decoder))
        self.align_corners = plan.align_corners

    def forward(self, target: Tensor, identity: Tensor) -> Tensor:
        """target: (N, 3, S, S) RGB in [0, 1], S % 4 == 0; identity: (N, dim), mapped. Returns (N, 3, S, S) in [0, 1].

        The decoder doubles the size before its first and its second convolution.
        """
        x = self.encoder(target)
        for first, second in self.styles:
            x = x + second(first(x, identity), identity)
        for index, conv in enumerate(self.decoder):
            if index < 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            x = conv(x)
        return to_01(x.tanh())


class InswapperTeacher(FrozenTeacher):
    """inswapper_128 at 128 px, with the embedding of insightface's w600k_r50 and the matrix that its file ends with.

    weights: inswapper_128.onnx, or its half-precision copy, whose weights become float32 here.
    crop_template: template of the crops given.
    encoder: an IResNetEncoder with the name w600k_r50; None reads what the student's encoder saw, which
    then must be that one.
    convention: what of the matrix, "insightface" or "facefusion", see LinearMap.
    sha256, file_bytes: of the published file that is meant; None accepts any file with this structure.
    Raises UserError for a file that is missing, altered, or built differently.
    """

    def __init__(
        self,
        weights: str | Path | None,
        crop_template: str,
        encoder: IdentityEncoder | None = None,
        convention: Convention = "insightface",
        sha256: str | None = None,
        file_bytes: int | None = None,
    ) -> None:
        source = replace(RECORD.source, kind="shared_embedding" if encoder is None else "own_embedding")
        record = replace(RECORD, variant=convention, source=source, sha256=sha256, file_bytes=file_bytes)
        super().__init__(record, crop_template, encoder)
        plan, tensors, emap = read_inswapper(_file(weights, record), record.target.size, record.source.dim)
        with torch.device("meta"):
            self.net = InswapperNet(plan)
        self.net.load_state_dict(tensors, assign=True)
        self.embedding_map = LinearMap(emap, convention)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, 128, 128) RGB in [0, 1]. Returns the same."""
        return self.net(target, self.embedding_map(self.identity(batch, source).float()))


def _leaky(x: Tensor, slope: float | None) -> Tensor:
    return x if slope is None else F.leaky_relu(x, slope)


def _file(weights: str | Path | None, record: TeacherRecord) -> Path:
    """The path, once the file is known to be the declared one."""
    if weights is None:
        raise OptionError("weights", None, "must be a file: the published inswapper_128.onnx")
    path = Path(weights)
    if path.is_file() and path.suffix != ".onnx":
        found = recognise(read_tensors(path)) or "an unknown network"
        raise ForeignFile(path, f"holds {found}, but inswapper comes as an .onnx file: choose that", found)
    verify_file(path, record)
    return path
