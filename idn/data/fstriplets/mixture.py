"""Mixture of the classes of FSTriplets: which class an item is of, and what a class without pictures does to that."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch

from idn.data.fstriplets.layout import EDITED_TARGET, PAIRED, VANILLA
from idn.errors import OptionError
from idn.files.option_checks import require_number

SAME = "vanilla_same"
"""Class of pairs that show one photograph twice; it has no folder of its own."""


def by_class(probabilities: Mapping[str, Any]) -> dict[str, float]:
    """Nested probabilities, as a config has them -> by class, such as "source_as_gt/beard".

    Raises OptionError for what is no class, no number or below 0, and where all are 0.
    """
    if not isinstance(probabilities, Mapping):
        raise OptionError("probabilities", probabilities, "must give every class of triplets its probability")
    found: dict[str, float] = {}
    for kind, value in probabilities.items():
        if kind in PAIRED:
            if not isinstance(value, Mapping):
                raise OptionError(f"probabilities.{kind}", value, "must give every class its probability")
            found |= {f"{kind}/{name}": one for name, one in value.items()}
        elif kind in (VANILLA, SAME, EDITED_TARGET):
            found[kind] = value
        else:
            known = ", ".join((VANILLA, SAME, EDITED_TARGET, *PAIRED))
            raise OptionError(f"probabilities.{kind}", value, f"is of no kind of triplets: choose of {known}")
    for name, value in found.items():
        require_number(f"probabilities.{name.replace('/', '.')}", value, 0)
    if not sum(found.values()):
        raise OptionError("probabilities", probabilities, "sum to zero: give at least one class a probability above 0")
    return found


class Mixture:
    """Classes by their share; those of absent classes go to the others in proportion."""

    def __init__(self, probabilities: Mapping[str, float], present: Sequence[str]) -> None:
        """probabilities: by class. present: classes that can be drawn of. Raises OptionError if nothing is left."""
        self.absent = [name for name, value in probabilities.items() if value and name not in present]
        self.unasked = [name for name in present if not probabilities.get(name)]
        self.names = [name for name, value in probabilities.items() if value and name in present]
        if not self.names:
            wanted = f"give none of the classes that are there a probability above 0: these are {', '.join(present)}"
            raise OptionError("probabilities", {name: 0 for name in present}, wanted)
        total = sum(probabilities[name] for name in self.names)
        self.shares = {name: probabilities[name] / total for name in self.names}
        self._ends = list(accumulate(self.shares.values()))

    def draw(self, draw: torch.Generator) -> str:
        """A class."""
        place = float(torch.rand((), dtype=torch.float64, generator=draw))
        return self.names[min(bisect_right(self._ends, place), len(self.names) - 1)]
