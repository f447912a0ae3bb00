"""JSON lines manifest of a folder of triplets: `triplets.jsonl`, what `idn triplets` noted of every picture it made.

The first line says what all pictures have in common, every other line is one job: a photograph, a person who was drawn,
or a pair of pictures that were edited elsewhere. A published set has no manifest.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idn.errors import ForeignFile
from idn.files.json_lines import read_json_lines
from idn.geometry.templates import TEMPLATES

MANIFEST = "triplets.jsonl"


@dataclass(frozen=True)
class Settings:
    """First line: what every triplet of a folder has in common, and what their pixels depend on."""

    template: str
    """Alignment template of the pictures."""
    size: int
    """Side of the pictures in pixels."""
    photographs: bool
    """Whether any of them shows more than drawn faces."""
    seed: int
    version: str
    """Of the program."""
    options: dict[str, Any] = field(default_factory=dict)
    """What else the pixels depend on, by option."""

    def __post_init__(self) -> None:
        """Raise TypeError for what no run of `idn triplets` notes."""
        if self.template not in TEMPLATES or not isinstance(self.size, int):
            raise TypeError(f"a first line with template={self.template} size={self.size}")


@dataclass(frozen=True)
class Triplet:
    """One triplet; pictures are paths relative to the folder."""

    folder: str
    """Class, such as "target_as_gt/glasses", or "edited_target"."""
    edit: str
    """What made the edited picture."""
    seed: int
    parameters: dict[str, Any]
    """What the edit drew from that seed."""
    source: str
    target: str
    result: str
    region: str | None = None
    """Picture whose pixels above 0 may differ between original and edited; None: all may."""
    covers: bool = False
    """Whether the edit lies in front of the face there, so that a swap must keep it."""


@dataclass(frozen=True)
class Record:
    """One job and what came of it."""

    job: str
    """Name, such as "photograph a/b.jpg"."""
    status: str = "ok"
    """"ok", or in a word why there is no triplet."""
    reason: str | None = None
    """The same in words."""
    triplets: list[dict[str, Any]] = field(default_factory=list)
    """Fields of Triplet each."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file that the job wrote, by path."""
    landmarks: dict[str, list[list[float]]] = field(default_factory=dict)
    """Five (x, y) in normalised coordinates, by picture."""
    passed_over: dict[str, str] = field(default_factory=dict)
    """Edits that could not be made of this picture, and why."""

    def __post_init__(self) -> None:
        """Raise TypeError for what no run of `idn triplets` notes."""
        if not isinstance(self.job, str) or not isinstance(self.status, str):
            raise TypeError(f"a record of {self.job} that idn triplets did not write")
        [Triplet(**fields) for fields in self.triplets]

    def made(self) -> list[Triplet]:
        """The triplets."""
        return [Triplet(**fields) for fields in self.triplets]

    def as_line(self) -> dict[str, Any]:
        """What stands in the file."""
        return asdict(self)


def read_manifest(folder: Path) -> tuple[Settings | None, list[Record]]:
    """Settings and records of a folder of triplets; (None, []) where there is no manifest.

    A last line without its end is ignored. Raises DamagedFile for lines that are no JSON objects, ForeignFile for those
    of something else.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None, []
    lines = read_json_lines(path)
    try:
        return (Settings(**lines[0]) if lines else None), [Record(**line) for line in lines[1:]]
    except (TypeError, AttributeError) as error:
        wanted = f"is no manifest of this version of idn ({error}): make the triplets in a new folder"
        raise ForeignFile(path, wanted) from error
