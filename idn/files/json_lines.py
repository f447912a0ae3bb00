"""JSON lines files that are only ever appended to: whoever was killed leaves at most one torn line, the last."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from idn.errors import DamagedFile
from idn.files.photos import printable


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of the complete lines, see `each_json_line`."""
    return list(each_json_line(path))


def each_json_line(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the complete lines, in order, one at a time; a last line without its end is ignored.

    Raises DamagedFile for a line that is not a JSON object, OSError for what cannot be read.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise DamagedFile(path, f"is damaged in line {number}: delete that line, or the file to begin anew")
            yield value


class JsonLines:
    """Appends objects to a file, one flushed line each; a torn last line is removed first."""

    def __init__(self, path: Path) -> None:
        """Open for appending. Raises OSError if the file cannot be written."""
        if path.exists():
            content = path.read_bytes()
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")

    def append(self, value: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system. Raises OSError if the disk refuses."""
        line = json.dumps(value, ensure_ascii=False)
        if printable(line) != line:  # a name that is no UTF-8
            line = json.dumps(value)
        self._file.write(f"{line}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
