"""Supervision: what a network that swaps is compared with, by a teacher with trust or by the pair itself."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from idn.metrics.identity import identity_cosine
from idn.reweighting.trust import Trust
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch


class Declared(Protocol):
    """What is read of a teacher's record."""

    name: str
    licence: str
    commercial: bool | None


TERMS = ("teacher", "teacher_licence", "teacher_commercial_use")
"""What a file says of the teacher behind it."""


def terms(record: Declared) -> dict[str, str]:
    """The teacher behind a file, and the terms of its weights."""
    commercial = {True: "allowed", False: "forbidden", None: "unknown"}[record.commercial]
    return dict(zip(TERMS, (record.name, record.licence, commercial), strict=True))


def terms_of_both(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """`now`, or what is left of the terms of two trainings, one after the other: both names, the narrower permission.

    before, now: as `terms` gives them, among other things; either may lack them.
    """
    first, then = before.get("teacher"), now.get("teacher")
    if first in (None, then):
        return dict(now)
    if then is None:
        return {key: before[key] for key in TERMS if key in before} | dict(now)
    licences = dict.fromkeys(f"{one['teacher']}: {one.get('teacher_licence', 'unknown')}" for one in (before, now))
    allowed = {one.get("teacher_commercial_use", "unknown") for one in (before, now)}
    commercial = next((word for word in ("forbidden", "unknown") if word in allowed), "allowed")
    return {**now, **dict(zip(TERMS, (f"{first}, then {then}", "; ".join(licences), commercial), strict=True))}


class SupervisedBatch(NamedTuple):
    """The right answers to N pairs, as far as somebody knows them. Nothing in it carries a gradient."""

    answer: Tensor | None = None
    """(N, 3, S, S) in [0, 1]: what the swaps should be."""
    trust: Tensor | None = None
    """(N,) in [0, 1]: how far to believe `answer`; None where there is nothing to doubt."""
    cosine: Tensor | None = None
    """(N,): of the identities of `answer` and source."""
    seen: IdentityFeatures | None = None
    """What the encoder saw in `answer`, where it had to look."""


class Supervisor(Protocol):
    """Turns a batch into what the losses compare with. A frozen nn.Module: it is not saved and does not change."""

    answers: bool
    """Whether it knows what a swap should be."""

    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """batch: N pairs. source: what `encoder` saw in the sources. look: whether `seen` is wanted in any case."""
        ...

    def lineage(self) -> dict[str, str]:
        """Where the answers come from and on what terms, for the file of what learned from them."""
        ...


class TeacherSupervision(nn.Module):
    """A frozen teacher, believed as far as `trust` says.

    teacher: see teachers.base.FrozenTeacher; `TruthTeacher` answers what the data know exactly.
    trust: how far each answer is believed.
    """

    answers = True

    def __init__(self, teacher: nn.Module, trust: Trust) -> None:
        super().__init__()
        self.teacher, self.trust = teacher, trust

    @torch.no_grad()
    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """Ask the teacher once. The encoder looks at its picture unless the batch knows the cosine already."""
        answer = self.teacher(batch, source)
        cosine = batch.cached_cosine
        seen = encoder(answer) if look or cosine is None else None
        if cosine is None:
            cosine = identity_cosine(seen.embedding, source.embedding)
        return SupervisedBatch(answer, self.trust(cosine, answer, batch.cached_quality), cosine, seen)

    def lineage(self) -> dict[str, str]:
        """Teacher and quality scorer, with the terms of the teacher's weights."""
        scorer = {} if self.trust.scorer is None else {"quality_scorer": self.trust.scorer.origin}
        return terms(self.teacher.record) | scorer


class PairSupervision(nn.Module):
    """No teacher and no exact answer: the losses compare with source and target, and with what a discriminator says."""

    answers = False

    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """Nothing is known but the pair."""
        return SupervisedBatch()

    def lineage(self) -> dict[str, str]:
        """Nobody taught."""
        return {}
