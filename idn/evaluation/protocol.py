"""The protocol of an evaluation: everything that its numbers depend on beside the methods, stored as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from idn.errors import UserError
from idn.files.atomic import atomic_write

PROTOCOL = "protocol.json"
"""Name of its file in the folder of an evaluation."""
REVISION = 1
"""Counts what changes the meaning of a number: two reports of different revisions cannot be compared."""
_MAY_DIFFER = ("versions", "said")
"""Fields that do not decide whether numbers can be compared."""


@dataclass(frozen=True)
class Protocol:
    """What stands beside every number of an evaluation."""

    name: str
    """Of the pairs: procedural, folder, celeba_hq, faceforensics."""
    pairs: int
    pairs_sha256: str
    """Of the names of all pairs in order, 16 digits."""
    size: int
    """Of the crops in pixels."""
    template: str
    facts: Mapping[str, Any]
    """What else decides about the pairs: seed, frames per video, the list."""
    left_out: Mapping[str, int]
    """How many pictures or pairs are not among them, by reason."""
    recogniser: Mapping[str, Any]
    """Name, checksum, licence; and whom it taught."""
    landmarks: Mapping[str, Any] | None
    """The model of the 68 landmarks, and its terms; or why there are none."""
    extractor: Mapping[str, Any]
    """Whose features FID and KID compare."""
    reference: str
    """The set whose mean centres the embeddings."""
    revision: int
    versions: Mapping[str, str]
    """Of this package and the libraries."""
    said: tuple[str, ...] = ()
    """Sentences that every output repeats."""

    def write(self, folder: Path) -> None:
        """Store it in the folder of an evaluation."""
        with atomic_write(folder / PROTOCOL) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Protocol":
        """That of an evaluation. Raises UserError where there is none, or one of another version."""
        path = folder / PROTOCOL
        if not path.is_file():
            raise UserError(f"{folder} holds no evaluation: give the folder that `idn eval` wrote")
        try:
            found = json.loads(path.read_text())
            return cls(**found | {"said": tuple(found["said"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} was not written by this version of idn ({error}): evaluate again") from error

    def differences(self, other: "Protocol") -> list[str]:
        """What keeps numbers of the two from being compared: "seed: 0 and 1", for every such field."""
        mine, theirs = (json.loads(json.dumps(asdict(one))) for one in (self, other))
        return [
            f"{field.name}: {_short(mine[field.name], theirs[field.name])}"
            for field in fields(self)
            if field.name not in _MAY_DIFFER and mine[field.name] != theirs[field.name]
        ]


def _short(one: Any, other: Any) -> str:
    """The parts in which two values differ; of models, their names where one is missing."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        return ", ".join(f"{key} {one.get(key)} and {other.get(key)}" for key in keys)
    one, other = (value.get("name", value) if isinstance(value, dict) else value for value in (one, other))
    return f"{one} and {other}"
