"""methods.json of an evaluation: which methods, in what order, how many pairs per part."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from idn.errors import DamagedFile
from idn.files.atomic import atomic_write

_NAME = "methods.json"


class Record(NamedTuple):
    """What was evaluated."""

    batch: int
    """Pairs per part."""
    teacher: str | None
    """Name of the method that the others are compared with."""
    methods: Sequence[Mapping[str, Any]]
    """JSON-able; name and facts of each, in the order of reports."""

    def write(self, folder: Path) -> None:
        """Store it in the folder of an evaluation."""
        with atomic_write(folder / _NAME) as draft:
            draft.write_text(json.dumps(self._asdict(), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """That of an evaluation; None where there is none. Raises DamagedFile for one that cannot be read."""
        path = folder / _NAME
        if not path.is_file():
            return None
        try:
            found = cls(**json.loads(path.read_text()))
            if all(isinstance(method["name"], str) for method in found.methods) and found.batch >= 1:
                return found
            raise ValueError("no methods")
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(path, f"is damaged ({error}): evaluate again, into another folder") from error

    def difference(self, other: "Record") -> str | None:
        """What keeps an evaluation from going on as `other`; None if nothing does."""
        mine, theirs = (json.loads(json.dumps(one._asdict())) for one in (self, other))
        if mine == theirs:
            return None
        if mine["batch"] != theirs["batch"]:
            return f"with batch={mine['batch']}"
        names, others = ([method["name"] for method in one["methods"]] for one in (mine, theirs))
        if names != others:
            return f"of other methods ({', '.join(names)})"
        changed = [m["name"] for m, n in zip(mine["methods"], theirs["methods"], strict=True) if m != n]
        return f"of other files or options of {', '.join(changed)}" if changed else f"beside {mine['teacher']}"
