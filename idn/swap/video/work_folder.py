"""Work folder of a video: finished parts, and what was counted up to each, so that a kill costs seconds."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idn.errors import DamagedFile, OptionError
from idn.files.atomic import atomic_write
from idn.video.encoding import PART

_STATE = "state.json"


@dataclass
class Counted:
    """What was done up to the end of a part."""

    parts: int = 0
    last: int | None = None
    """Time of the last frame, in units of the stream."""
    frames: int = 0
    without_face: int = 0
    faces: int = 0
    swapped: int = 0
    aside: int = 0
    damaged: int = 0
    """Packets that could not be decoded."""


class WorkFolder:
    """The folder beside `out` that holds the parts of one video until it is whole.

    plan: JSON-able; all that decides what the frames look like: only the same plan goes on with its parts.
    resume: whether parts of an earlier run are wanted.
    overwrite: whether they may be thrown away.
    Raises OptionError where they are there and neither is said, and where they are those of another plan.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        self.path = out.with_name(f".{out.name}.parts")
        self._plan = json.loads(json.dumps(dict(plan)))
        self.counted = Counted()
        state = self._read() if self.path.is_dir() else None
        if state is not None and not resume and not overwrite:
            raise OptionError(
                "out",
                out,
                f"was begun: {state['counted']['frames']} frames lie in {self.path}: add resume=true to go on, or "
                "overwrite=true to begin again",
            )
        if state is not None and resume:
            if state["plan"] != self._plan:
                differ = ", ".join(k for k in self._plan if state["plan"].get(k) != self._plan[k])
                raise OptionError("resume", True, f"wants the same command, and {differ} differs: begin again")
            self.counted = Counted(**state["counted"])
        elif self.path.is_dir():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """What an earlier run left; None where that is less than one part."""
        path = self.path / _STATE
        if not path.is_file():
            return None
        try:
            state = json.loads(path.read_text())
            Counted(**state["counted"])
            return {"plan": state["plan"], "counted": state["counted"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFile(path, f"is damaged ({error}): delete {self.path} and begin again") from error

    def part(self, number: int) -> Path:
        """The file of a part."""
        return self.path / f"{number:05d}{PART}"

    def parts(self) -> list[Path]:
        """All that are whole."""
        return [self.part(number) for number in range(self.counted.parts)]

    def finished(self, counted: Counted) -> None:
        """Note that a part is whole, and what was counted up to its end."""
        self.counted = counted
        with atomic_write(self.path / _STATE) as draft:
            draft.write_text(json.dumps({"plan": self._plan, "counted": asdict(counted)}))

    def remove(self) -> None:
        """Delete it all."""
        shutil.rmtree(self.path, ignore_errors=True)
