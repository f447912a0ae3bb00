"""Discriminators: networks that tell swaps from photographs while a swapper is trained against them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int
from idn.files.tensors import load_strict, read_tensors, strip_prefix
from idn.files.timm_backbones import build_model, published
from idn.frozen import Frozen
from idn.images import normalize, to_pm1
from idn.types import Verdict

_WIDEST = 8
"""Channels never exceed this many times the width of the first layer."""
_SLOPE = 0.2
"""Of the LeakyReLUs, as in pix2pix and its successors."""


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches, on the picture and on smaller copies of it (pix2pixHD, arXiv:1711.11585).

    scales: how many sizes are looked at, each half of the one before.
    width: channels of the first layer, doubled by every further one up to 8 times.
    depth: halvings per scale.

    Every convolution is spectrally normalised (arXiv:1802.05957), so no sample of a batch depends on another one.
    Raises OptionError for numbers below 1.
    """

    def __init__(self, scales: int = 2, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        for name, value in {"scales": scales, "width": width, "depth": depth}.items():
            require_int(name, value, 1)
        self.depth = depth
        self.scales = nn.ModuleList(_Critic(3, width, depth) for _ in range(scales))

    def forward(self, images: Tensor) -> Verdict:
        """images: (N, 3, S, S) RGB in [0, 1], S at least 2 ** (scales + depth - 1). Features: `depth` maps per scale.

        Raises UserError for smaller pictures.
        """
        smallest = 2 ** (len(self.scales) + self.depth - 1)
        if min(images.shape[-2:]) < smallest:
            raise UserError(
                f"pictures of {images.shape[-1]} px are too small for {len(self.scales)} scales with "
                f"{self.depth} halvings each: take {smallest} px or more, or fewer scales or halvings"
            )
        x = to_pm1(images)
        verdicts = []
        for scale, critic in enumerate(self.scales):
            verdicts.append(critic(F.avg_pool2d(x, 2**scale) if scale else x))
        return Verdict(tuple(logits for logits, _ in verdicts), tuple(maps for _, maps in verdicts))


class ThreeSizesDiscriminator(nn.Module):
    """Judges the swap and its two smaller pictures, each by a patch discriminator of its own (arXiv:2204.08339).

    width: channels of the first layer, doubled by every further one.
    depth: halvings per size.

    As published: spectral normalisation and, from the second layer on, BatchNorm. Raises OptionError for numbers below
    1.
    """

    reads_scales = True
    """It takes the smaller pictures of a swap, where the network makes them."""

    SIZES = (256, 128, 64)
    """Names of the three, in pixels where the swap has 256."""

    def __init__(self, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        for name, value in {"width": width, "depth": depth}.items():
            require_int(name, value, 1)
        for size in self.SIZES:
            self.add_module(f"discriminator_{size}", _NormedCritic(width, depth))

    def forward(self, images: Tensor, smaller: Sequence[Tensor] = ()) -> Verdict:
        """images: (N, 3, S, S) RGB in [0, 1]. smaller: the same with S / 2 and S / 4 pixels, as the network made them;
        without them, as for photographs, these are resized, bilinear with aligned corners."""
        verdicts = []
        for number, size in enumerate(self.SIZES):
            if number == 0:
                seen = images
            elif smaller:
                seen = smaller[number - 1]
            else:
                sides = [side >> number for side in images.shape[-2:]]
                seen = F.interpolate(images, sides, mode="bilinear", align_corners=True)
            verdicts.append(self.get_submodule(f"discriminator_{size}")(to_pm1(seen)))
        return Verdict(tuple(logits for logits, _ in verdicts), tuple(maps for _, maps in verdicts))


class ProjectedDiscriminator(nn.Module):
    """Judges what a frozen image classifier sees, mixed by frozen random projections (arXiv:2111.01007).

    Four levels of `backbone`, a timm name, are each brought to a common width by a random 1x1 convolution; from the
    deepest up, every level is enlarged and added to the next finer one. Only the heads that judge the four mixtures
    learn. weights: a file of that backbone, None takes the published weights from the hub. They are not part of a
    checkpoint, while the projections are. width: channels of the finest mixture, doubled by every deeper one. The
    features of its verdicts, as one scale, are the backbone's own, frozen, levels.
    Raises UserError if the backbone cannot be had or has fewer than four levels.
    """

    LEVELS, SMALLEST = 4, 64

    def __init__(self, backbone: str = "tf_efficientnet_lite0", weights: str | Path | None = None, width: int = 64):
        super().__init__()
        require_int("width", width, 1)
        self.backbone = Backbone(backbone, weights, self.LEVELS)
        widths = [width * 2**level for level in range(self.LEVELS)]
        self.projections = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1) for c_in, c_out in zip(self.backbone.channels, widths, strict=True)
        ).requires_grad_(False)
        mixings = [nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths)]
        self.mixings = nn.ModuleList(mixings).requires_grad_(False)
        for layer in (*self.projections, *self.mixings):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        depths = [max(1, self.LEVELS - 1 - level) for level in range(self.LEVELS)]
        self.heads = nn.ModuleList(_Critic(c, width, depth) for c, depth in zip(widths, depths, strict=True))

    def forward(self, images: Tensor) -> Verdict:
        """images: (N, 3, S, S) RGB in [0, 1], S at least 64. One map of logits per level, from fine to coarse.

        Raises UserError for smaller pictures.
        """
        if min(images.shape[-2:]) < self.SMALLEST:
            raise UserError(
                f"pictures of {images.shape[-1]} px are too small for this discriminator: take {self.SMALLEST} "
                "px or more, or the discriminator patch"
            )
        levels = self.backbone(images)
        mixed = [project(level) for project, level in zip(self.projections, levels, strict=True)]
        for index in range(self.LEVELS - 2, -1, -1):
            coarse = self.mixings[index](mixed[index + 1])
            mixed[index] = mixed[index] + F.interpolate(
                coarse, mixed[index].shape[-2:], mode="bilinear", align_corners=False
            )
        return Verdict(tuple(head(x)[0] for head, x in zip(self.heads, mixed, strict=True)), (levels,))


class Backbone(Frozen):
    """The deepest `levels` feature maps of a timm model, with its published weights or those of a file.

    channels: of each map, from fine to coarse. Raises UserError if the model or its weights cannot be had: it never
    stays random.
    """

    def __init__(self, name: str, weights: str | Path | None, levels: int) -> None:
        super().__init__()
        self.net = build_model(
            name,
            weights is None,
            OptionError(
                "backbone", name, "give weights=FILE with its weights, or take the discriminator patch, without any"
            ),
            {"features_only": True, "feature_cls": "getter", "out_indices": tuple(range(-levels, 0))},
        )
        self.channels = tuple(self.net.feature_info.channels())
        if len(self.channels) != levels:
            raise OptionError(
                "backbone",
                name,
                f"has {len(self.channels)} feature levels, {levels} are needed: choose another one, or the "
                "discriminator patch",
            )
        if weights is not None:
            wanted = self.net.model.state_dict()  # without the classifier, which the file may hold
            found = strip_prefix(read_tensors(weights), wanted)
            kept = {key: value for key, value in found.items() if key in wanted}
            load_strict(self.net.model, kept, f"weights={weights}")
        _, self.mean, self.std = published(self.net)
        self.freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, S, S) RGB in [0, 1] -> maps (N, channels[i], h_i, w_i), from fine to coarse."""
        return tuple(self.net(normalize(images, self.mean, self.std)))


class _Critic(nn.Module):
    """Halvings, each convolution and LeakyReLU, then one number per position.

    c_in: channels of what it judges. width: after the first halving. depth: halvings; 0 judges at once.
    """

    def __init__(self, c_in: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * min(2**level, _WIDEST) for level in range(depth)]
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise([c_in, *widths]))
        self.judge = spectral_norm(nn.Conv2d(widths[-1] if widths else c_in, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, c_in, h, w) -> logits (N, 1, h', w') and one map per halving."""
        maps: list[Tensor] = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            maps.append(x)
        return self.judge(x), tuple(maps)


class _NormedCritic(nn.Module):
    """Halvings, one layer that keeps the size, one number per position; all but the first and last with BatchNorm.

    width: channels after the first halving, doubled by every layer. depth: halvings.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        channels = [3, *(width * 2**level for level in range(depth + 1))]
        strides = [2] * depth + [1]
        layers = zip(pairwise(channels), strides, strict=True)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride, 2)) for (a, b), stride in layers)
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm2d(c) for c in channels[2:])])
        self.judge = spectral_norm(nn.Conv2d(channels[-1], 1, 4, 1, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, 3, S, S) in [-1, 1] -> logits (N, 1, h, w) and one map per layer."""
        maps: list[Tensor] = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), _SLOPE)
            maps.append(x)
        return self.judge(x), tuple(maps)
