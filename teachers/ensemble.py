"""Several teachers for one student: every pair is cached_answer by one of them."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.images import resize, to_uint8
from idn.reweighting.alpha import alpha
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import Data, FaceInput, FrozenTeacher, SourceInput, TeacherRecord, pick
from teachers.stable_random import hash_rows, unit

Choice = Literal["weight", "trust"]
_THUMB = 4


class EnsembleTeacher(FrozenTeacher):
    """Answers every pair with the picture of one of its members.

    members: teachers by name. choose: "weight" draws one per pair, in proportion to `shares`, and asks nobody else;
    "trust" asks all and keeps the picture with the highest cos(z(picture), z(source))^2 * Q(picture), so a step costs
    as much as all of them. shares: by name of the member; equal ones if None; for "weight" only. scorer: Q; 1 if None;
    for "trust" only. seed: of the draws, which follow from the pictures of a pair and nothing else.
    Its record names all members and is as strict as the strictest of them. Raises UserError for fewer than two members,
    options that do not fit the choice, and names or shares that mean nothing.
    """

    def __init__(
        self,
        members: Mapping[str, FrozenTeacher],
        choose: Choice,
        seed: int,
        shares: Mapping[str, float] | None = None,
        scorer: nn.Module | None = None,
    ) -> None:
        if len(members) < 2:
            raise UserError(f"teacher=ensemble has {len(members)} members: name at least two under teacher.members")
        if choose not in ("weight", "trust"):
            raise UserError(f"teacher.choose={choose} is unknown: choose weight or trust")
        if (choose == "trust" and shares is not None) or (choose == "weight" and scorer is not None):
            raise UserError("teacher.shares belong to teacher.choose=weight, teacher.scorer to teacher.choose=trust")
        super().__init__(_joint_record([member.record for member in members.values()]), crop_template=None)
        self.members = nn.ModuleDict(members)
        self.choose, self.seed, self.scorer = choose, seed, scorer
        self.shares = _shares(list(members), shares)
        self._judge: list[IdentityEncoder] = []
        self._answered: Counter[str] = Counter(dict.fromkeys(members, 0))
        self.freeze()

    def attach(self, data: Data, encoder: IdentityEncoder, scorer: nn.Module | None = None) -> Data:
        """Judge with the student's encoder, without owning it; let every member check it. Returns the same data.

        Raises UserError if a member wants other data: a batch can hold the kept answers of one teacher only, and those
        would count for the pairs that the others teach, too.
        """
        for name, member in self.members.items():
            if member.attach(data, encoder, scorer) is not data:
                raise UserError(f"teacher.members.{name} reads kept answers: ask the whole ensemble with `idn cache`")
        self._judge = [encoder]
        return data

    def tally(self) -> Mapping[str, int]:
        """How many pairs each member has cached_answer so far, by name."""
        return dict(self._answered)

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return (N, 3, S, S) RGB in [0, 1], a member's picture for every pair."""
        if self.choose == "trust":
            return self._best(batch, source)
        chosen = self.drawn(batch)
        self._count(chosen)
        answer = torch.empty_like(target)
        for number, member in enumerate(self.members.values()):
            rows = (chosen == number).nonzero().squeeze(1)
            if len(rows):
                answer[rows] = member(*pick(batch, source, rows)).to(answer.dtype)
        return answer

    def drawn(self, batch: SwapBatch) -> Tensor:
        """(N,) int64: number of the member that teaches each pair, for the choice by weight."""
        pictures = torch.cat([batch.source, batch.target], 1)
        content = to_uint8(resize(pictures.flatten(0, 1)[:, None].float(), _THUMB)).reshape(len(pictures), -1)
        where = unit(hash_rows(content.long(), self.seed, 0))
        return torch.bucketize(where, self.shares.to(where).cumsum(0)[:-1], right=True)

    def _best(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        if not self._judge:
            raise ValueError("an ensemble that chooses by trust must attach() the student's encoder first")
        pictures = torch.stack([member(batch, source) for member in self.members.values()])
        trust = torch.stack([self._trust(images, source) for images in pictures])
        chosen = trust.argmax(0)
        self._count(chosen)
        return pictures[chosen, torch.arange(len(chosen), device=chosen.device)]

    def _count(self, chosen: Tensor) -> None:
        counts = chosen.bincount(minlength=len(self.members)).tolist()
        self._answered.update(dict(zip(self.members, counts, strict=True)))

    def _trust(self, images: Tensor, source: IdentityFeatures) -> Tensor:
        cosine = (self._judge[0](images).embedding * source.embedding).sum(1)
        return alpha(cosine, None if self.scorer is None else self.scorer(images))


def _joint_record(records: list[TeacherRecord]) -> TeacherRecord:
    allowed = [record.commercial for record in records]
    return TeacherRecord(
        name=f"ensemble of {', '.join(record.name for record in records)}",
        licence="; ".join(f"{record.name}: {record.licence}" for record in records),
        commercial=False if False in allowed else None if None in allowed else True,
        target=FaceInput(),
        source=SourceInput("nothing"),
    )


def _shares(names: list[str], given: Mapping[str, float] | None) -> Tensor:
    """(K,) float64 that sum to 1, in the order of the members."""
    given = dict.fromkeys(names, 1.0) if given is None else given
    if set(given) != set(names):
        raise UserError(f"teacher.shares name {', '.join(given)}, the members are {', '.join(names)}: name the same")
    values = torch.tensor([float(given[name]) for name in names], dtype=torch.float64)
    if not (values.isfinite().all() and (values >= 0).all() and values.sum() > 0):
        raise UserError(f"teacher.shares={dict(given)} must be 0 or more, and not all 0")
    return values / values.sum()
