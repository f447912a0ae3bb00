"""Datasets of procedural faces: swaps with their exact answers, and labelled people for recognisers.

Item i is a whole batch and a pure function of the constructor's arguments and i: any worker may draw any item, and
there is no last one.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.procedural.renderer import FaceRender, FaceRenderer
from idn.errors import OptionError
from idn.files.option_checks import require_divisor, require_int, require_number
from idn.types import SwapBatch, repeat_rows


def _generator(seed: int, item: int) -> torch.Generator:
    """A generator of its own for every item of every seed. Negative items are for what no data set presents."""
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + item * 0x85EBCA77 + 0x165667B1) % 2**63)


def _check_item(item: int) -> None:
    if item < 0:
        raise IndexError(f"item {item}: the first one is 0")


class ProceduralSwaps(Dataset[SwapBatch]):
    """Batches of source, target and exact swap.

    The target of a sample is another picture with another person; with probability `same_ratio` it is the source's
    person instead, in that other situation, and so equals the swap.
    """

    def __init__(
        self,
        renderer: FaceRenderer,
        size: int,
        batch: int,
        seed: int,
        same_ratio: float = 0.0,
        targets_per_identity: int = 1,
        truth_share: float = 1.0,
    ) -> None:
        """Draw from a seed.

        size: of the crops.
        batch: samples of an item, at least 2.
        targets_per_identity: samples in a row that have one source.
        truth_share: probability that the exact swap of a sample is known, as in a set of triplets. Nothing else that is
            drawn depends on it.
        Raises OptionError on a smaller batch, on a ratio or share outside [0, 1], and unless the batch shows two
        sources or more with so many targets each.
        """
        require_int("batch", batch, 2)
        require_number("same_ratio", same_ratio, 0, 1)
        require_number("truth_share", truth_share, 0, 1)
        require_divisor("targets_per_identity", targets_per_identity, "batch", batch, 2)
        self.renderer = renderer
        self.size = size
        self.batch = batch
        self.seed = seed
        self.same_ratio = same_ratio
        self.targets_per_identity = targets_per_identity
        self.truth_share = truth_share

    def __getitem__(self, item: int) -> SwapBatch:
        """Draw batch `item`, all that is known of drawn faces; `face` covers that of the target and of the exact swap.

        No more pictures are drawn than for one target per identity: those that serve as no source are targets alone.
        Raises IndexError below 0.
        """
        _check_item(item)
        generator, targets = _generator(self.seed, item), self.targets_per_identity
        people = self.renderer.sample_identity(self.batch, generator)
        attributes = self.renderer.sample_attributes(self.batch, generator)
        same = torch.rand(self.batch, generator=generator) < self.same_ratio
        wanted = attributes.roll(-1, 0)
        base = self._draw_bases(people, attributes, same)
        identity = repeat_rows(people[::targets], targets)
        swap = self.renderer.render(identity, wanted, self.size)
        chosen = same.view(-1, 1, 1, 1)
        target, known = torch.where(chosen, swap.image, base.image.roll(-1, 0)), None
        if self.truth_share < 1:
            known = torch.rand(self.batch, generator=generator) < self.truth_share
        return SwapBatch(
            source=repeat_rows(base.image[::targets], targets),
            target=target,
            face=torch.where(chosen, swap.face, torch.maximum(base.face.roll(-1, 0), swap.face)),
            same=same,
            truth=swap.image if known is None else torch.where(known.view(-1, 1, 1, 1), swap.image, target),
            truth_known=known,
            source_identity=identity,
            target_attributes=wanted,
            landmarks=swap.landmarks,
            targets_per_identity=targets,
        )

    def _draw_bases(self, people: Tensor, attributes: Tensor, same: Tensor) -> FaceRender:
        """Every person in a situation of their own; black where the picture is neither a source nor a target."""
        shown = (torch.arange(self.batch) % self.targets_per_identity == 0) | ~same.roll(1, 0)
        drawn = self.renderer.render(people[shown], attributes[shown], self.size)
        return FaceRender(*(part.new_zeros(self.batch, *part.shape[1:]).index_put_((shown,), part) for part in drawn))


class ProceduralIdentities(Dataset[tuple[Tensor, Tensor]]):
    """Batches of labelled pictures of a fixed set of people, each time in new situations."""

    def __init__(
        self,
        renderer: FaceRenderer,
        size: int,
        batch: int,
        identities: int,
        seed: int,
        images_per_identity_in_batch: int = 2,
    ) -> None:
        """size: of the crops; batch: pictures of an item; identities: number of people, drawn from `seed`.

        Raises OptionError unless the batch divides into groups of one person, with enough people to fill it.
        """
        require_int("batch", batch, images_per_identity_in_batch)
        require_int("identities", identities, 2)
        groups, rest = divmod(batch, images_per_identity_in_batch)
        if rest:
            wanted = f"must be a multiple of {images_per_identity_in_batch}, the pictures of one person in a batch"
            raise OptionError("batch", batch, wanted)
        if groups > identities:
            wanted = f"shows {groups} people but there are {identities}: raise identities, or lower batch"
            raise OptionError("batch", batch, wanted)
        self.renderer = renderer
        self.size = size
        self.seed = seed
        self.images_per_identity = images_per_identity_in_batch
        self.groups = groups
        self.bank = renderer.sample_identity(identities, _generator(seed, -1))
        """(identities, identity_dim): row k is the person with label k."""

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """Draw batch `item`: images (N, 3, S, S) in [0, 1] and labels (N,) int64, pictures of one person in a row.

        Raises IndexError below 0.
        """
        _check_item(item)
        generator = _generator(self.seed, item)
        people = torch.randperm(len(self.bank), generator=generator)[: self.groups]
        labels = people.repeat_interleave(self.images_per_identity)
        attributes = self.renderer.sample_attributes(len(labels), generator)
        return self.renderer.render(self.bank[labels], attributes, self.size).image, labels


def verification_pairs(
    renderer: FaceRenderer, size: int, pairs: int, seed: int, chunk: int = 64
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield `pairs` pairs of pictures, at most `chunk` at a time: images a and b, (n, 3, S, S), and same, (n,) bool.

    Every second pair shows one person twice, in different situations. The people depend on `seed` and `chunk`;
    use another seed than in training.
    """
    for start in range(0, pairs, chunk):
        n = min(chunk, pairs - start)
        generator = _generator(seed, -2 - start)
        first, other = renderer.sample_identity(n, generator), renderer.sample_identity(n, generator)
        same = (start + torch.arange(n)) % 2 == 0
        second = torch.where(same.unsqueeze(1), first, other)
        a, b = (renderer.render(who, renderer.sample_attributes(n, generator), size).image for who in (first, second))
        yield a, b, same
