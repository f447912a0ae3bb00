"""Random draws that depend on a generator or on a text alone, for data sets whose items are pure functions."""

import hashlib
from collections.abc import Sequence

import torch


def seed_of(text: str) -> int:
    """A generator seed below 2**63 that depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def below(limit: int, draw: torch.Generator) -> int:
    """A number in 0 .. limit - 1."""
    return int(torch.randint(limit, (), generator=draw))


def one_of(values: Sequence[int], draw: torch.Generator) -> int:
    """One of several numbers."""
    return values[below(len(values), draw)]
