"""Methods under test: whatever turns pairs into pictures, with what is known about it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idn.errors import UserError
from idn.evaluation.pairs.pair_set import Pairs
from idn.types import EncoderDescription, IdentityFeatures


class Swaps(NamedTuple):
    """What a method made of N pairs."""

    image: Tensor
    """(N, 3, S, S) RGB in [0, 1], in the framing of the pairs; anything where there is a problem."""
    problems: Sequence[str | None]
    """By pair, why there is no picture to judge, such as "no result"; None where there is one."""


class Method(ABC):
    """Something that swaps faces.

    name: in tables and reports; no two of an evaluation are alike.
    facts: JSON-able; what it is: kind, file, checksum, licence.
    taught_by: the encoder that its training asked who is who, where that is known.
    """

    def __init__(self, name: str, facts: Mapping[str, Any], taught_by: EncoderDescription | None = None) -> None:
        self.name, self.facts, self.taught_by = name, dict(facts), taught_by

    @abstractmethod
    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """Swap N pairs. who: the sources, as the shared encoder sees them."""


def judged(image: Tensor, pairs: Pairs) -> Swaps:
    """Pictures of a network, in which pixels that are no numbers are told."""
    image = image.detach().float()
    bad = ~image.flatten(1).isfinite().all(1)
    problems = ["pixels that are no numbers" if wrong else None for wrong in bad.tolist()]
    clean = torch.where(bad.view(-1, 1, 1, 1), pairs.batch.target, image.clamp(0, 1))
    return Swaps(clean, problems)


def check_names(methods: Sequence[Method]) -> None:
    """Raise UserError unless there are methods, and all have names of their own."""
    if not methods:
        raise UserError("nothing to evaluate: give students=[FILE], teachers=[NAME], exported=[DIR] or results=[DIR]")
    names = [method.name for method in methods]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two methods are called {twice[0]}: give names, as in students={{one:FILE,other:FILE}}")
