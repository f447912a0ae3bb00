"""Trainable swappers for `idn train-teacher`: the published networks in any width, and the file that results."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int, require_one_of
from idn.files.tensors import write_tensors
from idn.frozen import build_uninitialised
from idn.images import denormalize, normalize, to_01, to_pm1
from idn.types import IdentityFeatures, SwapOutput
from teachers.published.ghost import GhostNet, PyramidEncoder
from teachers.published.simswap import VARIANTS, SimSwapNet

RATES: Mapping[str, float] = MappingProxyType({"identity": 20.0})
"""Learning rates of the parameter groups, relative to the optimizer's; the published recipes have 1 everywhere."""

_WIDEST = 16
"""The published pyramids stop growing at this many times the width of their finest level."""


class TrainableSwapper(nn.Module, ABC):
    """Puts identities into pictures, in house format, and knows what it takes to build it again.

    net: the network under its published keys. config: arguments of the constructor, as plain numbers and words.
    rates: of learning, by parameter group, relative to the optimizer's; no part of the config.
    Subclasses name their `family` and their `identity_layers`, a part of the names of all layers that read the
    embedding, and write `swap` and `fault`.
    """

    family: ClassVar[str]
    identity_layers: ClassVar[tuple[str, ...]]
    config: dict[str, int | str]
    rates: dict[str, float]
    net: nn.Module

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        """Put M identities, by their embeddings, into N targets, (N, 3, S, S) RGB in [0, 1], each into N / M in a row.

        Raises ValueError for a size that cannot be swapped.
        """
        return self.swap_with_attributes(target, identity)[0]

    def swap_with_attributes(self, target: Tensor, identity: IdentityFeatures) -> tuple[SwapOutput, tuple[Tensor, ...]]:
        """What `forward` returns and, from the same pass, the `attributes` of the target."""
        image, maps = self.swap(target, identity.for_targets(target).embedding)
        return SwapOutput(image), maps

    @abstractmethod
    def swap(self, target: Tensor, embedding: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, 3, S, S) RGB in [0, 1] and, from the same pass, the `attributes` of the target.

        target: (N, 3, S, S) RGB in [0, 1].
        embedding: (N, dim), L2-normalised.
        """

    @abstractmethod
    def fault(self, size: int) -> OptionError | None:
        """The argument that does not let pictures of `size` pixels be swapped, and what to do; None if they can."""

    def attributes(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the swapper's own encoder keeps of (N, 3, S, S) pictures: maps, coarse to fine; none if it has none."""
        return ()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters in two groups that may want learning rates of their own.

        "identity": the layers that read the embedding, whose numbers are small because its length is 1. "network":
        everything else.
        """
        groups: dict[str, list[nn.Parameter]] = {"identity": [], "network": []}
        for name, parameter in self.net.named_parameters():
            reads = any(f".{layer}." in f".{name}" for layer in self.identity_layers)
            groups["identity" if reads else "network"].append(parameter)
        return groups

    def check_size(self, size: int) -> None:
        """Raise OptionError unless pictures of `size` pixels can be swapped."""
        if fault := self.fault(size):
            raise fault

    def save(self, path: str | Path, metadata: Mapping[str, str]) -> None:
        """Write one safetensors file: the tensors under their published names, `metadata`, family and config."""
        own = {"family": self.family, "config": json.dumps(self.config)}
        write_tensors(path, self.net.state_dict(), {**metadata, **own})


class SimSwapSwapper(TrainableSwapper):
    """SimSwap's generator (arXiv:2106.06340): bounded by its tanh, or in ImageNet numbers and unbounded.

    width: channels at full size, doubled by each of `halvings`. blocks: identity blocks in between. dim: length of the
    embedding. variant: "tanh01" reads RGB in [0, 1] and ends in a tanh, so its pictures lie in [0, 1]; with
    "imagenet_linear", as in SimSwap's train.py, they may leave it, and whoever uses them clamps.
    rates: of learning, of the `parameter_groups`, relative to the optimizer's; None for 1 everywhere.
    64, 3, 9, 512 are the published numbers: such a file has the keys and shapes of latest_net_G.pth.
    Raises UserError for numbers below 1 and for another variant.
    """

    family, identity_layers = "simswap", ("style1.linear", "style2.linear")

    def __init__(
        self,
        width: int = 64,
        halvings: int = 3,
        blocks: int = 9,
        dim: int = 512,
        variant: str = "tanh01",
        rates: Mapping[str, float] | None = RATES,
    ) -> None:
        super().__init__()
        self.rates = dict(rates or {})
        self.config = {"width": width, "halvings": halvings, "blocks": blocks, "dim": dim, "variant": variant}
        _positive(self.config)
        require_one_of("variant", variant, VARIANTS)
        self.way = VARIANTS[variant]
        self.halvings = halvings
        self.net = SimSwapNet(tuple(width * 2**level for level in range(halvings + 1)), 1, blocks, dim)

    def swap(self, target: Tensor, embedding: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See TrainableSwapper. Raises ValueError for a size that does not halve often enough."""
        _check(self.fault(target.shape[-1]))
        way = self.way
        answer = self.net(normalize(target, way.mean, way.std), embedding).float()
        answer = answer.tanh() if way.tanh else answer
        return denormalize(answer, way.out_mean, way.out_std), ()

    def fault(self, size: int) -> OptionError | None:
        """Sizes must halve evenly, down to 2 px or more."""
        step = 2**self.halvings
        if size % step == 0 and size >= 2 * step:
            return None
        wanted = f"does not fit pictures of {size} px: take a multiple of {step} from {2 * step} on, or fewer halvings"
        return OptionError("halvings", self.halvings, wanted, self)


class GhostSwapper(TrainableSwapper):
    """GHOST's relative of AEI-Net (arXiv:1912.13457) with a U-Net, for any size that halves evenly.

    width: channels of the finest level, doubled by each coarser one up to 16 times; the attribute encoder starts with
    half of it. halvings: from the picture to the coarsest map, whose side is size / 2 ** halvings, at least 2. blocks:
    denormalisations per level. dim: length of the embedding. size: pixels of the pictures.
    rates: of learning, of the `parameter_groups`, relative to the optimizer's; None for 1 everywhere.
    64, 7, 2, 512, 256 are the published numbers; the published weights read embeddings of their own length, these read
    them L2-normalised. Raises UserError for numbers below 1 and a size that does not fit.
    """

    family, identity_layers = "ghost", ("up1", "fc1", "fc2")

    def __init__(
        self,
        width: int = 64,
        halvings: int = 7,
        blocks: int = 2,
        dim: int = 512,
        size: int = 256,
        rates: Mapping[str, float] | None = RATES,
    ) -> None:
        super().__init__()
        self.rates = dict(rates or {})
        self.config = {"width": width, "halvings": halvings, "blocks": blocks, "dim": dim, "size": size}
        _positive(self.config)
        self.size = size
        if width < 2 or halvings < 2 or size % 2**halvings or size < 2 * 2**halvings:
            raise OptionError(
                "size",
                size,
                f"does not fit width={width} and halvings={halvings}: those must be 2 or more, and the size a multiple "
                "of 2 ** halvings, at least twice that",
            )
        down = [width // 2 * min(2**level, 2 * _WIDEST) for level in range(halvings)]
        up = down[-2::-1]
        widths = [width * min(2**level, _WIDEST) for level in range(halvings, -1, -1)]
        self.net = GhostNet(PyramidEncoder(down, up), widths, blocks, dim)
        start = size // 2**halvings
        if start != self.net.generator.up1.kernel_size[0]:
            self.net.generator.up1 = nn.ConvTranspose2d(dim, widths[0], start)

    def swap(self, target: Tensor, embedding: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See TrainableSwapper; in [0, 1] by its tanh. Raises ValueError for another size than it was built for."""
        _check(self.fault(target.shape[-1]))
        maps = self.attributes(target)
        return to_01(self.net.generator(embedding, maps).float()), maps

    def attributes(self, images: Tensor) -> tuple[Tensor, ...]:
        """One map per level of (N, 3, size, size) RGB in [0, 1], from the coarsest to full size."""
        return tuple(self.net.encoder(to_pm1(images)))

    def fault(self, size: int) -> OptionError | None:
        """The coarsest map grows out of the identity, so it has one size."""
        if size == self.size:
            return None
        return OptionError("size", self.size, f"does not fit pictures of {size} px: make them equal", self)


SWAPPERS: dict[str, type[TrainableSwapper]] = {kind.family: kind for kind in (SimSwapSwapper, GhostSwapper)}
"""By the name that a file calls its family."""


def rebuild(family: str, config: str) -> TrainableSwapper:
    """The swapper that a file describes, with whatever lay in memory as its weights. config: JSON, as `save` wrote it.

    Raises UserError if there is no such family or it has no such arguments.
    """
    if family not in SWAPPERS:
        raise UserError(f"swapper family {family} is unknown: it is none of {', '.join(SWAPPERS)}")
    try:
        return build_uninitialised(lambda: SWAPPERS[family](**json.loads(config)))
    except (TypeError, ValueError) as error:
        raise UserError(f"no {family} swapper has the arguments {config} ({error})") from error


def _positive(config: Mapping[str, int | str]) -> None:
    for name, value in config.items():
        if name != "variant":
            require_int(name, value, 1)


def _check(fault: OptionError | None) -> None:
    if fault:
        raise ValueError(str(fault))
