"""Several teachers for one student: every pair is answered by one of them."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_number, require_one_of
from idn.images import resize, to_uint8
from idn.reweighting.trust import alpha
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import Data, FrozenTeacher, pick
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.without_weights.stable_random import hash_rows, unit

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
            raise OptionError(
                "members", ", ".join(members), f"must be at least two teachers by name, not {len(members)}"
            )
        require_one_of("choose", choose, get_args(Choice))
        if (choose == "trust" and shares is not None) or (choose == "weight" and scorer is not None):
            raise OptionError("choose", choose, "does not fit: shares belong to weight, a scorer to trust")
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
                raise UserError(
                    f"member {name} of the ensemble reads kept answers: ask the whole ensemble with `idn cache`"
                )
        self._judge = [encoder]
        return data

    def tally(self) -> Mapping[str, int]:
        """How many pairs each member has answered so far, by name."""
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
        raise OptionError("shares", dict(given), f"must name the members, which are {', '.join(names)}")
    for name in names:
        require_number(f"shares.{name}", given[name], 0)
    values = torch.tensor([float(given[name]) for name in names], dtype=torch.float64)
    if not values.sum() > 0:
        raise OptionError("shares", dict(given), "must be 0 or more, and not all 0")
    return values / values.sum()
