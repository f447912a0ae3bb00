"""HopeNet (pose), L2CS-Net (gaze) and Deep3DFaceRecon (3DMM expression): published networks that read a face in
numbers, of given files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from idn.errors import ForeignFile
from idn.files.digests import file_sha256
from idn.files.remote import local
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen, build_uninitialised
from idn.geometry.warping import warp
from idn.images import normalize, resize

_RESNET50 = [3, 4, 6, 3]
_SIDE = 224
"""Pixels of the crops that all of them were shown."""
_DLIB_BOX = 0.475, 1.165, 1.165
_WIDER_BOX = 0.317, 1.100, 1.485
"""How detectors draw boxes around five landmarks: how far down the way from the eyes to the mouth the middle is, and
half of width and height in units of the mean of that way and the distance of the eyes. dlib's as
`idn.encoders.dlib_resnet` found them, and those of YuNet, which learned from WIDER FACE as RetinaFace did: medians over
60 portraits."""
_STANDARD_FACE = (
    (-0.31148657, 0.29036078, 0.13377953),
    (0.30979887, 0.28972036, 0.13179526),
    (0.0032535, -0.04617932, 0.55244243),
    (-0.25216928, -0.38133916, 0.22405732),
    (0.2484662, -0.38128236, 0.22235769),
)
"""Eyes, nose tip and corners of the mouth in space, y up, by which Deep3DFaceRecon cuts: the origin is the middle."""
_STANDARD_SCALE = 102 / 224
"""Its unit, as a share of such a crop."""
_COEFFICIENTS = (80, 64, 80, 3, 27, 2, 1)
"""Of a 3D morphable model: identity, expression, texture, angle, light, shift, depth."""
_L2CS_BINS: Mapping[int, tuple[int, int]] = {90: (4, 180), 28: (3, 42)}
"""Bins of the file -> degrees of a bin, and those below 0: of Gaze360 and of MPIIGaze."""


class FaceNetwork(Frozen, ABC):
    """Reads faces in numbers, which are compared with those of the target, read through the same frame.

    weights: a published file. Raises UserError for one that is missing or holds another network, naming the tensors.
    """

    kind: str
    """What it is called in a report."""

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.net = self._load(read_tensors(weights), weights)
        self.facts: dict[str, Any] = {"name": self.kind, "sha256": file_sha256(local(weights))}
        self.freeze()

    @abstractmethod
    def forward(self, images: Tensor, points: Tensor) -> Tensor:
        """What it reads, (N, D).

        images: (N, 3, S, S) RGB in [0, 1].
        points: (N, 5, 2) eyes, nose tip and corners of the mouth in normalised coordinates.
        """

    @abstractmethod
    def distance(self, read: Tensor, other: Tensor) -> Tensor:
        """Of two readings, (N, D) each: (N,)."""

    @abstractmethod
    def _load(self, tensors: dict[str, Tensor], weights: str | Path) -> nn.Module:
        """The network of a file."""


class HopeNet(FaceNetwork):
    """HopeNet (arXiv:1710.00925): yaw, pitch and roll of a head in degrees, whose L2 distance many papers call pose.

    weights: hopenet_robust_alpha1.pkl or another of its three files.
    """

    kind = "HopeNet"

    def forward(self, images: Tensor, points: Tensor) -> Tensor:
        """See `FaceNetwork`; (N, 3) in degrees. The frame is dlib's box, widened as the authors' program for videos
        does: by half of its width to both sides, by 3/4 of its height upwards and 1/4 downwards."""
        left, top, right, bottom = face_boxes(points, _DLIB_BOX).unbind(1)
        wide, high = right - left, bottom - top
        box = torch.stack([left - wide / 2, top - 0.75 * high, right + wide / 2, bottom + 0.25 * high], 1)
        return self.net(normalize(cut_boxes(images, box))) * 3 - 99

    def distance(self, read: Tensor, other: Tensor) -> Tensor:
        """See `FaceNetwork`; L2 in degrees."""
        return (read - other).norm(dim=1)

    def _load(self, tensors: dict[str, Tensor], weights: str | Path) -> nn.Module:
        if "fc_roll.weight" not in tensors:
            raise ForeignFile(weights, "holds no HopeNet: give hopenet_robust_alpha1.pkl")
        net = build_uninitialised(lambda: AngleNet(("fc_yaw", "fc_pitch", "fc_roll"), 66))
        load_strict(net, tensors, f"{weights}")
        return net


class L2CSNet(FaceNetwork):
    """L2CS-Net (arXiv:2203.03339): where eyes look, as a direction.

    weights: L2CSNet_gaze360.pkl, or one of those of MPIIGaze, which the number of bins tells apart. ResNet-50 alone.
    """

    kind = "L2CS-Net"

    def forward(self, images: Tensor, points: Tensor) -> Tensor:
        """See `FaceNetwork`; unit vectors, (N, 3). The frame is a detector's box, seen at 448 px as in training."""
        crops = resize(cut_boxes(images, face_boxes(points, _WIDER_BOX)), 2 * _SIDE)
        width, below = _L2CS_BINS[self.net.bins]
        yaw, pitch = torch.deg2rad(self.net(normalize(crops)) * width - below).unbind(1)
        return torch.stack([-pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], 1)

    def distance(self, read: Tensor, other: Tensor) -> Tensor:
        """See `FaceNetwork`; the angle in degrees."""
        across = torch.linalg.cross(read, other).norm(dim=1)
        return torch.rad2deg(torch.atan2(across, (read * other).sum(1)))

    def _load(self, tensors: dict[str, Tensor], weights: str | Path) -> nn.Module:
        head = tensors.get("fc_yaw_gaze.weight")
        if head is None or len(head) not in _L2CS_BINS:
            raise ForeignFile(weights, "holds no L2CS-Net of Gaze360 or MPIIGaze: give L2CSNet_gaze360.pkl")
        net = build_uninitialised(lambda: AngleNet(("fc_yaw_gaze", "fc_pitch_gaze"), len(head)))
        load_strict(net, tensors, f"{weights}")
        return net


class Deep3DExpression(FaceNetwork):
    """Deep3DFaceRecon_pytorch (arXiv:1903.08527): 64 expression coefficients of the Basel face model, whose terms allow
    academic use only.

    weights: its epoch_20.pth.
    """

    kind = "Deep3DFaceRecon"

    def forward(self, images: Tensor, points: Tensor) -> Tensor:
        """See `FaceNetwork`; (N, 64). What lies outside of the picture is black, as in training."""
        _, expression, *_ = self.net(cut_boxes(images, standard_boxes(points), "zeros")).split(_COEFFICIENTS, 1)
        return expression

    def distance(self, read: Tensor, other: Tensor) -> Tensor:
        """See `FaceNetwork`; L2."""
        return (read - other).norm(dim=1)

    def _load(self, tensors: dict[str, Tensor], weights: str | Path) -> nn.Module:
        if "final_layers.0.weight" not in tensors:
            raise ForeignFile(weights, "holds no Deep3DFaceRecon: give its epoch_20.pth")
        net = build_uninitialised(CoefficientNet)
        load_strict(net, tensors, f"{weights}")
        return net


class AngleNet(ResNet):
    """ResNet-50 with a softmax over bins per angle. Names are those of the published files.

    heads: names of the layers, one per angle.
    bins: of each.
    """

    def __init__(self, heads: Sequence[str], bins: int) -> None:
        super().__init__(Bottleneck, _RESNET50)
        channels, self.fc = self.fc.in_features, nn.Identity()
        for head in heads:
            self.add_module(head, nn.Linear(channels, bins))
        self.fc_finetune = nn.Linear(channels + 3, 3)  # in every published file, asked by none of the programs
        self.heads, self.bins = tuple(heads), bins

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, A): the expected bin of every angle, counted from 0."""
        pooled = super().forward(images)
        shares = torch.stack([self.get_submodule(head)(pooled) for head in self.heads], 1).softmax(2)
        return shares @ torch.arange(self.bins, device=shares.device, dtype=shares.dtype)


class CoefficientNet(nn.Module):
    """ResNet-50 with a linear layer per group of coefficients. Names are those of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(Bottleneck, _RESNET50)
        channels, self.backbone.fc = self.backbone.fc.in_features, nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(channels, count, 1) for count in _COEFFICIENTS)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) RGB in [0, 1] -> (N, 257)."""
        pooled = self.backbone(images)
        return torch.cat([layer(pooled[..., None, None]).flatten(1) for layer in self.final_layers], 1)


def face_boxes(points: Tensor, drawn: tuple[float, float, float]) -> Tensor:
    """Left, top, right and bottom of what a detector would draw around faces, (N, 4), in the unit of the points.

    points: (N, 5, 2). drawn: see `_DLIB_BOX`.
    """
    down, half_width, half_height = drawn
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    unit = ((points[:, 1] - points[:, 0]).norm(dim=1) + (mouth - eyes).norm(dim=1))[:, None] / 2
    middle, half = eyes + down * (mouth - eyes), unit * unit.new_tensor((half_width, half_height))
    return torch.cat([middle - half, middle + half], 1)


def standard_boxes(points: Tensor) -> Tensor:
    """Left, top, right and bottom of the squares that Deep3DFaceRecon cuts, (N, 4): upright, of the scale and at the
    place of the standard face through the affine camera that fits best. points: (N, 5, 2) in normalised coordinates."""
    face = points.new_tensor(_STANDARD_FACE).double() * points.new_tensor((1.0, -1.0, 1.0))
    known = torch.cat([face, torch.ones_like(face[:, :1])], 1)
    camera = torch.linalg.lstsq(known.expand(len(points), -1, -1), points.double()).solution
    half = camera[:, :3].norm(dim=1).mean(1, keepdim=True) * (0.5 / _STANDARD_SCALE)
    return torch.cat([camera[:, 3] - half, camera[:, 3] + half], 1).to(points)


def cut_boxes(images: Tensor, boxes: Tensor, padding: str = "border") -> Tensor:
    """What is seen in boxes, stretched to squares, (N, 3, 224, 224).

    images: (N, 3, S, S). boxes: (N, 4) in normalised coordinates. padding: outside of the picture, as in `warp`.
    """
    near, span = boxes[:, :2].double(), (boxes[:, 2:] - boxes[:, :2]).double()
    matrix = torch.cat([torch.diag_embed(1 / span), (-near / span)[..., None]], 2)
    return warp(images, matrix, _SIDE, padding)
