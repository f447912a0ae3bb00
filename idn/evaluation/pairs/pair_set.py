"""Pair sets: numbered source-target pairs with the names of pictures and people, read a few at a time."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from idn.types import SwapBatch


class PairName(NamedTuple):
    """Which pictures a pair is made of, and whom they show."""

    target: str
    """Name of the picture without its ending, as results made elsewhere repeat it."""
    source: str
    target_person: str
    source_person: str

    @property
    def result(self) -> str:
        """What a picture with the result is called, without its ending."""
        return result_name(self.target, self.source)


class Pairs(NamedTuple):
    """N pairs that are tried together."""

    names: Sequence[PairName]
    batch: SwapBatch
    """Their pictures, (N, 3, S, S) RGB in [0, 1], in the framing of the pair set; with landmarks, those of the template
    where nobody looked for any."""


class PairSet(ABC):
    """Pairs that are the same on every machine and in every order.

    name: of the protocol, such as "procedural".
    names: of every pair, in order.
    size, template: pixels and alignment template of every crop.
    photographs: whether they show real people, not drawn ones.
    facts: JSON-able; whatever else decides which pairs these are: seed, frames per video, the list.
    left_out: how many pictures or pairs are not among them, by reason.
    runs: of frames of videos, by pair: those of one number, which lie side by side, have successive frames of one video
        as targets; None where pictures follow each other by no order.
    """

    def __init__(
        self,
        name: str,
        names: Sequence[PairName],
        size: int,
        template: str,
        photographs: bool,
        facts: Mapping[str, Any],
        left_out: Mapping[str, int],
        runs: Sequence[int] | None = None,
    ) -> None:
        self.name, self.names, self.size, self.template = name, names, size, template
        self.photographs, self.facts, self.left_out = photographs, dict(facts), dict(left_out)
        self.runs = runs

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.names)

    @abstractmethod
    def load(self, rows: range) -> Pairs:
        """The pairs of these numbers, one after the other."""

    def digest(self) -> str:
        """Checksum over all names in order: 16 hexadecimal digits."""
        lines = "".join(f"{'/'.join(pair)}\n" for pair in self.names)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def result_name(target: str, source: str) -> str:
    """`<target>_<source>`; for frames of videos, "071/0003" and "054/0003", the folders: "071_054/0003"."""
    if "/" not in target or "/" not in source:
        return f"{target}_{source}".replace("/", "-")
    (folder, frame), other = target.rsplit("/", 1), source.split("/")[-2]
    return f"{folder}_{other}/{frame}"
