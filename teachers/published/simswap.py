"""SimSwap (arXiv:2106.06340): the published 224 px model, the 512 px beta, and the deep model of its training code."""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import OptionError
from idn.files.option_checks import require_one_of
from idn.frozen import build_uninitialised
from idn.images import IMAGENET_MEAN, IMAGENET_STD, denormalize, normalize
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.record import Channels, FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import load_network, read_network

_PICTURES = 4
"""Faces that the check of the variant reconstructs."""
_FLAT = 0.02
"""A picture whose numbers deviate less than this from their mean shows nothing that could be reconstructed."""
_RATIO, _REBUILT = 0.6, 0.1
"""The other variant is clearly better if its error is below this part of the declared one's, and below this number.

The published training log ends at an error of 0.036. Small generators that were trained on drawn faces reach 0.05 under
their own variant and 0.14 to 0.25 under the other one, so 0.6 of the larger error lies well between. What has not
learnt to reconstruct yet stays above 0.1 under both, and is left alone.
"""


class Variant(NamedTuple):
    """What goes in and out: the network reads (x - mean) / std of RGB in [0, 1]; y * out_std + out_mean is its RGB."""

    mean: Channels
    std: Channels
    tanh: bool
    out_mean: Channels
    out_std: Channels


VARIANTS = {
    "tanh01": Variant((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), True, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet_linear": Variant(IMAGENET_MEAN, IMAGENET_STD, False, IMAGENET_MEAN, IMAGENET_STD),
}
"""The two ways in which SimSwap generators were trained. Their files have the same keys and shapes."""


class Architecture(NamedTuple):
    """One of the published generators, what marks its file, and how it is used."""

    family: str
    widths: tuple[int, ...]
    first: int
    blocks: int
    sizes: tuple[int, ...]
    template: str


ARCHITECTURES = {
    "plain": Architecture("SimSwap 224", (64, 128, 256, 512), 1, 9, (224, 256), "arcface_112_v1"),
    "beta": Architecture("SimSwap 512 beta", (32, 64, 128, 256, 512), 0, 9, (512,), "ffhq"),
    "deep": Architecture("SimSwap 512 (Gdeep)", (64, 128, 256, 512, 512), 1, 9, (512,), "arcface_112_v1"),
}


class Style(nn.Module):
    """Scale and shift of every channel, predicted from the identity."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * channels)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: (N, C, H, W), identity: (N, dim). Returns x * (gamma + 1) + beta."""
        gamma, beta = self.linear(identity)[:, :, None, None].chunk(2, 1)
        return x * (gamma + 1) + beta


class IdentityBlock(nn.Module):
    """Two reflect-padded convolutions, each normalised per picture and styled by the identity; residual."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3))
        self.style1 = Style(dim, channels)
        self.conv2 = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3))
        self.style2 = Style(dim, channels)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape; H and W at least 2."""
        y = F.relu(self.style1(instance_norm(self.conv1(x)), identity))
        return x + self.style2(instance_norm(self.conv2(y)), identity)


class SimSwapNet(nn.Module):
    """The generator; module names are those of the published files.

    widths: channels after the first layer and after each halving. first: number in the name of the first halving.
    blocks: identity blocks between the halvings and the doublings. dim: length of the embedding.
    """

    def __init__(self, widths: tuple[int, ...], first: int, blocks: int = 9, dim: int = 512) -> None:
        super().__init__()
        self.first_layer = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, widths[0], 7), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.levels = range(first, first + len(widths) - 1)
        for level, (fine, coarse) in zip(self.levels, pairwise(widths), strict=True):
            self.add_module(
                f"down{level}",
                nn.Sequential(nn.Conv2d(fine, coarse, 3, 2, padding=1), nn.BatchNorm2d(coarse), nn.ReLU()),
            )
            self.add_module(
                f"up{level}",
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                    nn.Conv2d(coarse, fine, 3, padding=1),
                    nn.BatchNorm2d(fine),
                    nn.ReLU(),
                ),
            )
        self.BottleNeck = nn.ModuleList(IdentityBlock(widths[-1], dim) for _ in range(blocks))
        self.last_layer = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(widths[0], 3, 7))

    def forward(self, target: Tensor, identity: Tensor) -> Tensor:
        """target: (N, 3, S, S), S a multiple of 2 ** halvings, in the numbers of its variant. identity: (N, dim).

        Returns (N, 3, S, S), unbounded: a tanh, where the variant has one, is the caller's.
        """
        x = self.first_layer(target)
        for level in self.levels:
            x = self.get_submodule(f"down{level}")(x)
        for block in self.BottleNeck:
            x = block(x, identity)
        for level in reversed(self.levels):
            x = self.get_submodule(f"up{level}")(x)
        return self.last_layer(x)


class SimSwapTeacher(FrozenTeacher):
    """SimSwap, driven by the 512 numbers of ArcFace IR-SE-101, L2-normalised.

    weights: latest_net_G.pth (224 px), 550000_net_G.pth (512 px beta), 390000_net_G.pth (512 px, deep, by the
    community), or a file that SimSwap's train.py made. crop_template: template of the crops given.
    variant: "tanh01" (reads RGB in [0, 1], ends in a tanh) or "imagenet_linear" (reads and writes RGB normalised with
    the ImageNet mean and deviation, no tanh). It must be stated: the files of both look alike. At the first call with
    pictures that show something, up to 4 sources are reconstructed with their own identity under both variants, and a
    warning is given if the other one does clearly better.
    size: pixels it works at. encoder: an ArcFaceEncoder of its own; None reads what the student's encoder saw, which
    must be the same recogniser. template: alignment of its crops, None for that of its training.
    architecture: "plain" (224 or 256 px), "beta" or "deep" (512 px); must be what the keys of the file show.
    Raises UserError for an option that cannot be and for a file that is missing or holds another network.
    """

    def __init__(
        self,
        weights: str | Path | None,
        crop_template: str,
        variant: str | None = None,
        size: int = 224,
        encoder: IdentityEncoder | None = None,
        template: str | None = None,
        architecture: str = "plain",
    ) -> None:
        published = _architecture(architecture, size)
        way, terms = _variant(variant), FAMILIES[f"simswap {architecture}"]
        record = TeacherRecord(
            name=published.family,
            variant=variant,
            licence=terms.licence,
            commercial=terms.commercial,
            target=FaceInput(size, template or published.template, way.mean, way.std),
            source=SourceInput(
                "shared_embedding" if encoder is None else "own_embedding",
                encoder="ArcFace IR-SE-101 (foamliu)",
                dim=512,
            ),
            output_mean=way.out_mean,
            output_std=way.out_std,
        )
        super().__init__(record, crop_template, encoder)
        tensors = read_network(weights, record, published.family)
        dim = record.source.dim
        self.net = build_uninitialised(lambda: SimSwapNet(published.widths, published.first, published.blocks, dim))
        load_network(self.net, tensors, weights, published.family)
        self.compared = False
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, s, s) in the numbers of the variant. Returns (N, 3, s, s) in those that the record decodes."""
        identity = self.identity(batch, source)
        if not self.compared:
            self._compare(batch.source, identity)
        return self._run(target, identity, VARIANTS[self.record.variant])

    @torch.no_grad()
    def reconstruction(self, images: Tensor, identity: Tensor) -> dict[str, float]:
        """How well faces survive a swap with themselves, under each variant.

        images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`.
        identity: (N, 512), their own unit-length embeddings.
        Returns variant -> mean absolute error in [0, 1], over the teacher's own crop.
        """
        face = self.record.target
        crop = FaceInput(face.size, face.template).cut(images, self.crop_template)
        errors = {}
        for name, way in VARIANTS.items():
            answer = self._run(normalize(crop, way.mean, way.std), identity, way).to(crop.dtype)
            again = denormalize(answer, way.out_mean, way.out_std).clamp(0, 1)
            errors[name] = float((again - crop).abs().mean())
        return errors

    def _run(self, target: Tensor, identity: Tensor, way: Variant) -> Tensor:
        answer = self.net(target, identity)
        return answer.tanh() if way.tanh else answer

    def _compare(self, images: Tensor, identity: Tensor) -> None:
        """Warn if the variant that was not declared reconstructs clearly better; once pictures show something."""
        shows = images.flatten(1).std(1) > _FLAT
        if not shows.any():
            return
        self.compared = True
        errors = self.reconstruction(images[shows][:_PICTURES], identity[shows][:_PICTURES])
        mine = errors.pop(self.record.variant)
        (other, error), *_ = errors.items()
        if error < min(_RATIO * mine, _REBUILT):
            warnings.warn(
                f"teacher {self.record.name} reconstructs faces with a mean error of {mine:.3f} as "
                f"variant={self.record.variant} and of {error:.3f} as variant={other}: set variant={other} "
                "unless you know better",
                stacklevel=2,
            )


def instance_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit variance per picture and channel of (N, C, H, W): centred / sqrt(mean square + eps).

    Computed in float32, whatever the precision: an epsilon so small vanishes, and squares overflow, in half.
    """
    centred = x.float() - x.float().mean((2, 3), keepdim=True)
    return (centred * (centred.square().mean((2, 3), keepdim=True) + eps).rsqrt()).to(x.dtype)


def _architecture(name: str, size: int) -> Architecture:
    require_one_of("architecture", name, ARCHITECTURES)
    found = ARCHITECTURES[name]
    if size not in found.sizes:
        sizes = " or ".join(map(str, found.sizes))
        raise OptionError("size", size, f"must be {sizes} pixels for {found.family}, or architecture another one")
    return found


def _variant(name: str | None) -> Variant:
    if name not in VARIANTS:
        raise OptionError(
            "variant",
            name,
            "must be tanh01 (the published test models, [0, 1] in and a tanh at the end) or imagenet_linear (what "
            "SimSwap's train.py makes, ImageNet mean and deviation in and out, no tanh): the file cannot tell them "
            "apart, and the wrong one gives white stripes and washed-out faces",
        )
    return VARIANTS[name]
