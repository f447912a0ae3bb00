"""Supervision: what a network that swaps is compared with: a teacher's or exact answers, or the pair itself."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.files.option_checks import require_bool
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


NOBODY = dict(zip(TERMS, ("none", "no teacher", "as the data allow"), strict=True))
"""The same where exact answers took the place of a teacher."""


def terms(record: Declared) -> dict[str, str]:
    """The teacher behind a file, and the terms of its weights."""
    commercial = {True: "allowed", False: "forbidden", None: "unknown"}[record.commercial]
    return dict(zip(TERMS, (record.name, record.licence, commercial), strict=True))


def terms_of_both(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """`now`, or what is left of the terms of two trainings, one after the other: both names, the narrower permission.

    before, now: as `terms` gives them, among other things; either may lack them.
    """
    first, then = before.get("teacher"), now.get("teacher")
    if first in (None, NOBODY["teacher"], then):
        return dict(now)
    if then in (None, NOBODY["teacher"]):
        return dict(now) | {key: before[key] for key in TERMS if key in before}
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
    known: Tensor | None = None
    """(N,) bool: rows in which `answer` is one; it is the target in the others. None: all, if there is an answer."""
    exact: Tensor | None = None
    """(N,) bool: rows in which `answer` is exact, so that no trust weighs it. None: none, a teacher said them all."""


class Supervisor(Protocol):
    """Turns a batch into what the losses compare with. A frozen nn.Module: it is not saved and does not change."""

    answers: bool
    """Whether it knows what a swap should be."""
    teacher: nn.Module | None
    """Who is asked, see teachers.base.FrozenTeacher; None where nobody is."""

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


class ExactSupervision(nn.Module):
    """The exact swaps that the data know, as those of triplets and of rendered people; nobody else is asked.

    partly: data that know the swaps of some pairs only are taken, too. A pair without one is compared with no answer,
        and only those losses teach that ask for none.
    """

    answers, teacher = True, None

    def __init__(self, partly: bool) -> None:
        super().__init__()
        require_bool("partly", partly)
        self.partly = partly

    @torch.no_grad()
    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """Raises UserError for pairs whose exact swap is not known, unless only some of them lack it and may."""
        answer, known = exact_answers(batch)
        if known is not None and not self.partly and not bool(known.all()):
            raise UserError(
                "these data know the exact swaps of some pairs only: choose the supervision triplets, or both with a "
                "teacher for the others"
            )
        return SupervisedBatch(answer, None, None, encoder(answer) if look else None, known, batch.exact)

    def lineage(self) -> dict[str, str]:
        """No teacher, and so no terms of one."""
        return dict(NOBODY)


class ExactOrTaught(nn.Module):
    """The exact swap where the data know it, else a teacher's answer, believed as far as `trust` says.

    teacher, trust: as in TeacherSupervision. The teacher is asked for the pairs without an exact swap alone.
    """

    answers = True

    def __init__(self, teacher: nn.Module, trust: Trust) -> None:
        super().__init__()
        self.taught = TeacherSupervision(teacher, trust)

    @property
    def teacher(self) -> nn.Module:
        """Who is asked where the data know no answer."""
        return self.taught.teacher

    @torch.no_grad()
    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """Trust is 1 in rows with an exact swap. Raises UserError for data that know none."""
        answer, _ = exact_answers(batch)
        exact, trust = batch.exact, torch.ones_like(batch.same, dtype=torch.float32)
        cosine = torch.full_like(trust, math.nan)
        if len(rows := (~exact).nonzero().flatten()):
            asked = self.taught.supervise(batch.take(rows), _rows(source, rows), encoder)
            answer = answer.index_copy(0, rows, asked.answer.to(answer))
            trust[rows], cosine[rows] = asked.trust.to(trust), asked.cosine.to(cosine)
        return SupervisedBatch(answer, trust, cosine, encoder(answer) if look else None, None, exact)

    def lineage(self) -> dict[str, str]:
        """Those of the teacher."""
        return self.taught.lineage()


def exact_answers(batch: SwapBatch) -> tuple[Tensor, Tensor | None]:
    """The exact swaps, with the target in the rows without one; and which rows have one, None for all.

    Raises UserError for data that know none.
    """
    if batch.truth is None:
        raise UserError(
            "these data know no exact swaps, as triplets and rendered people do: choose such data, or the supervision "
            "distillation"
        )
    if batch.truth_known is None:
        return batch.truth, None
    return torch.where(batch.truth_known[:, None, None, None], batch.truth, batch.target), batch.truth_known


def _rows(features: IdentityFeatures, rows: Tensor) -> IdentityFeatures:
    """Some of the faces, by their numbers."""
    picked = (None if value is None else value[rows] for value in (features.embedding, features.features))
    length = None if features.length is None else features.length[rows]
    return IdentityFeatures(*picked, tuple(level[rows] for level in features.shallow), length)


class PairSupervision(nn.Module):
    """No teacher and no exact answer: the losses compare with source and target, and with what a discriminator says."""

    answers, teacher = False, None

    def supervise(
        self, batch: SwapBatch, source: IdentityFeatures, encoder: IdentityEncoder, look: bool = False
    ) -> SupervisedBatch:
        """Nothing is known but the pair."""
        return SupervisedBatch()

    def lineage(self) -> dict[str, str]:
        """Nobody taught."""
        return {}
