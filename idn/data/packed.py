"""Lists of millions as a few arrays, which processes share and may be memory-mapped: names, and runs of numbers."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import index as as_index
from typing import NamedTuple, overload

import numpy as np


class PackedNames(Sequence[str]):
    """Texts in one array of bytes: nothing is a Python object until it is asked for."""

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        """content: uint8, all texts in UTF-8 one after the other. ends: int64, where each of them ends."""
        self.content, self.ends = content, ends

    @classmethod
    def pack(cls, names: Iterable[str]) -> "PackedNames":
        """Pack texts, file names that are no UTF-8 included."""
        content, ends = bytearray(), []
        for name in names:
            content += name.encode("utf-8", "surrogateescape")
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ends)

    @overload
    def __getitem__(self, item: int) -> str: ...
    @overload
    def __getitem__(self, item: slice) -> list[str]: ...
    def __getitem__(self, item: int | slice) -> str | list[str]:
        """One text, or a list of some of them. Raises IndexError."""
        if isinstance(item, slice):
            return [self[number] for number in range(*item.indices(len(self)))]
        number = range(len(self))[as_index(item)]
        begin = int(self.ends[number - 1]) if number else 0
        return self.content[begin : int(self.ends[number])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        """All of them, one after the other."""
        return map(self.__getitem__, range(len(self)))


class Runs(Sequence[range]):
    """Runs of successive numbers, such as the photographs of each person."""

    def __init__(self, begins: np.ndarray, ends: np.ndarray) -> None:
        """begins, ends: (K,) int64, the first number of each run and the one after its last."""
        self.begins, self.ends = begins, ends
        self._totals = np.cumsum(ends - begins)

    def __len__(self) -> int:
        """How many runs."""
        return len(self.begins)

    @overload
    def __getitem__(self, item: int) -> range: ...
    @overload
    def __getitem__(self, item: slice) -> "Runs": ...
    def __getitem__(self, item: int | slice) -> "range | Runs":
        """One run, or some of them. Raises IndexError."""
        if isinstance(item, slice):
            return self.take(np.arange(len(self))[item])
        return range(int(self.begins[item]), int(self.ends[item]))

    def take(self, which: np.ndarray) -> "Runs":
        """Those of some places, or where a mask, (K,) bool, says so."""
        return Runs(self.begins[which], self.ends[which])

    def sizes(self) -> np.ndarray:
        """(K,) int64: how many numbers each holds."""
        return self.ends - self.begins

    def members(self) -> "Members":
        """Every number of every run."""
        return Members(self)

    def total(self) -> int:
        """How many numbers all of them hold."""
        return int(self._totals[-1]) if len(self) else 0

    def places(self) -> "Runs":
        """Where the numbers of each run stand among its `members`."""
        return Runs(self._totals - self.sizes(), self._totals)

    def find(self, place: int) -> "Member":
        """The number that stands at a place among all of them, and its run. Raises IndexError."""
        place = range(self.total())[as_index(place)]
        run = int(np.searchsorted(self._totals, place, side="right"))
        return Member(int(self.ends[run] - (self._totals[run] - place)), run)


class Member(NamedTuple):
    """A number and its run."""

    number: int
    run: int


class Members(Sequence[Member]):
    """The numbers of runs, in their order, each with its run."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def __len__(self) -> int:
        """How many numbers."""
        return self.runs.total()

    @overload
    def __getitem__(self, item: int) -> Member: ...
    @overload
    def __getitem__(self, item: slice) -> list[Member]: ...
    def __getitem__(self, item: int | slice) -> Member | list[Member]:
        """One of them. Raises IndexError."""
        if isinstance(item, slice):
            return [self.runs.find(place) for place in range(*item.indices(len(self)))]
        return self.runs.find(item)


class NamedRuns(Mapping[str, range]):
    """Runs by name, in order of the names.

    names: of every number. runs: in order of their names, the name of a run being that of its first number or, with
    `folders`, the first folder in that.
    """

    def __init__(self, names: Sequence[str], runs: Runs, folders: bool) -> None:
        self.names, self.runs, self.folders = names, runs, folders

    def __len__(self) -> int:
        """How many runs."""
        return len(self.runs)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return map(self.name, range(len(self)))

    def name(self, run: int) -> str:
        """Name of the run at a place."""
        first = self.names[int(self.runs.begins[run])]
        return first.split("/", 1)[0] if self.folders else first

    def __getitem__(self, name: str) -> range:
        """The numbers of a name. Raises KeyError."""
        place = bisect_left(range(len(self)), name, key=self.name)
        if place == len(self) or self.name(place) != name:
            raise KeyError(name)
        return self.runs[place]
