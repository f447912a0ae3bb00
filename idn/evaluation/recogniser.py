"""Judging identity: a recogniser that nobody trained with, embeddings centred by a reference set, retrieval."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.encoders.description import describe_encoder, same_mark
from idn.errors import UserError
from idn.evaluation.methods.method import Method
from idn.evaluation.pairs.pair_set import PairName
from idn.types import IdentityEncoder


class Gallery(NamedTuple):
    """What a recogniser saw in the pictures that no method has touched."""

    centre: Tensor
    """(D,): mean over the embeddings of all sources and targets."""
    sources: Tensor
    """(P, D): centred embeddings of the source of every pair."""
    targets: Tensor
    """(P, D): the same of the targets."""


class Answer(NamedTuple):
    """Who N pictures show."""

    source: Tensor
    """(N,): cosine to the source."""
    target: Tensor
    """(N,): cosine to the target."""
    hit: Tensor
    """(N,) float: 1 where no source of another person is nearer than those of the right one."""
    other: Tensor | None = None
    """(N,): mean cosine to the other pictures of the source's person among the pairs; NaN where there are none."""


def centred(embeddings: Tensor, centre: Tensor) -> Tensor:
    """Unit vectors from `centre`, (N, D). A blurred picture lies nearer to the centre, and so to everybody: this undoes
    it, because only the direction counts."""
    return F.normalize(embeddings - centre)


class Judge:
    """Says how much pictures look like sources and targets, by the embeddings of one recogniser.

    gallery: what it saw in the pairs.
    names: of every pair.
    """

    def __init__(self, gallery: Gallery, names: Sequence[PairName]) -> None:
        self.gallery = gallery
        self._people = _numbered([name.source_person for name in names])
        pictures = _numbered([*(name.source for name in names), *(name.target for name in names)])
        people = _numbered([*(name.source_person for name in names), *(name.target_person for name in names)])
        once = list({picture: place for place, picture in enumerate(pictures.tolist())}.values())
        self._all = torch.cat([gallery.sources, gallery.targets])[once]
        self._all_people, self._all_pictures = people[once], pictures[once]
        self._own_people, self._own_pictures = people[: len(names)], pictures[: len(names)]

    def __call__(self, embeddings: Tensor, rows: range) -> Answer:
        """embeddings: (N, D), of pictures that were made of the pairs of these numbers."""
        seen = centred(embeddings.float().cpu(), self.gallery.centre)
        here = slice(rows.start, rows.stop)
        cosines = seen @ self.gallery.sources.mT
        mine = self._people[None] == self._people[here, None]
        best, other = (cosines.masked_fill(~which, -2).amax(1) for which in (mine, ~mine))
        own = (seen * self.gallery.sources[here]).sum(1)
        to_target = (seen * self.gallery.targets[here]).sum(1)
        return Answer(own, to_target, (best > other).float(), self._to_others(seen, here))

    def _to_others(self, seen: Tensor, here: slice) -> Tensor:
        """(N,): mean cosine to every other picture of the person on the source, each of them once."""
        right = self._all_people[None] == self._own_people[here, None]
        right &= self._all_pictures[None] != self._own_pictures[here, None]
        return ((seen @ self._all.mT) * right).sum(1) / right.sum(1)


def _numbered(names: Sequence[str]) -> Tensor:
    """Equal names get equal numbers, from 0."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def check_independent(recogniser: IdentityEncoder, methods: Sequence[Method], same_recogniser: bool) -> list[str]:
    """Names of the methods that were trained with this recogniser.

    Raises UserError if there are any, unless `same_recogniser` says that this is meant.
    """
    described = describe_encoder(recogniser)
    taught = [
        method.name
        for method in methods
        if method.taught_by is not None
        and (
            method.taught_by.name == described.name
            or (method.taught_by.mark and same_mark(method.taught_by, described))
        )
    ]
    if taught and not same_recogniser:
        raise UserError(
            f"the recogniser {described.name} taught {', '.join(taught)}, so its numbers would flatter them: take "
            "another recogniser, or same_recogniser=true, which every output will say"
        )
    return taught


@torch.no_grad()
def look_at_pairs(embeddings: Sequence[tuple[Tensor, Tensor]]) -> Gallery:
    """The gallery. embeddings: of sources and targets, (N, D) each, chunk by chunk in the order of the pairs."""
    sources, targets = (torch.cat(column).float().cpu() for column in zip(*embeddings, strict=True))
    centre = torch.cat([sources, targets]).mean(0)
    return Gallery(centre, centred(sources, centre), centred(targets, centre))
