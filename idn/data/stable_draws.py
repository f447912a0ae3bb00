"""Random draws that depend on a generator or on a text alone, for data sets whose items are pure functions."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import torch

from idn.files.photos import SUFFIXES


def seed_of(text: str) -> int:
    """A generator seed below 2**63 that depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def below(limit: int, draw: torch.Generator) -> int:
    """A number in 0 .. limit - 1."""
    return int(torch.randint(limit, (), generator=draw))


def one_of(values: Sequence[int], draw: torch.Generator) -> int:
    """One of several numbers."""
    return values[below(len(values), draw)]


def share_of(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name of an identity, without the ending of a picture.

    So a picture in two formats is on one side in either.
    """
    stem = name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in SUFFIXES else name
    return int.from_bytes(hashlib.blake2b(stem.encode("utf-8", "surrogateescape"), digest_size=8).digest()) / 2**64
