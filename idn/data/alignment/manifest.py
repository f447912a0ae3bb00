"""JSON lines manifest of an aligned folder: `manifest.jsonl` beside the crops, one object a line.

The first line says how the crops were made; every other line is one photograph, used or not. Lines are only ever
appended, so a run that was killed leaves at most one torn line, the last, which the next run removes.
"""

from array import array
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from idn.errors import ForeignFile, OptionError
from idn.files.json_lines import JsonLines, each_json_line
from idn.geometry.templates import TEMPLATES

NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Settings:
    """First line: what every crop of a folder has in common."""

    source: str
    """Folder of the photographs, absolute."""
    template: str
    """Alignment template of the crops."""
    size: int
    """Side of the crops in pixels."""
    min_face: float
    """Shorter side in pixels below which faces were left out."""
    picture_format: str
    """Format of the crops."""
    picture_quality: int
    """Of jpg and webp."""
    detector: dict[str, Any] | None = None
    """What the results of the detector depend on, by argument; None for one that does not say."""

    def __post_init__(self) -> None:
        """Raise TypeError for what no run of `idn align` notes."""
        if self.template not in TEMPLATES or not isinstance(self.size, int) or not isinstance(self.source, str):
            raise TypeError(f"a first line with template={self.template} size={self.size} source={self.source}")


@dataclass(frozen=True)
class Record:
    """One photograph. Everything after `status` is None or empty where no face was found."""

    photo: str
    """Path relative to the folder of the photographs."""
    status: str
    """"ok", or why there is no crop: "no_face", "small", "unreadable", "large" (it has too many pixels) or "unwritable"
    (a crop of that name cannot be written)."""
    reason: str | None = None
    """Why there is no crop, or what was passed over to make it, in words."""
    crop: str | None = None
    """Path of the crop relative to the manifest."""
    digest: str | None = None
    """Of the content of the crop, see `idn.files.photos.digest`: tells which one it is when it was moved or renamed."""
    landmarks: list[list[float]] | None = None
    """Five (x, y) as the detector saw them, in normalised coordinates of the crop."""
    score: float | None = None
    """Confidence of the detector in [0, 1]."""
    box: list[float] | None = None
    """Left, top, right, bottom of the face in pixels of the photograph."""
    face_px: float | None = None
    """Shorter side of the box."""
    inside: float | None = None
    """Share of the crop that lies inside the photograph; the rest repeats its border."""
    faces: int = 0
    """How many faces were found; the largest was taken."""

    def __post_init__(self) -> None:
        """Raise TypeError for what no run of `idn align` notes."""
        names = isinstance(self.photo, str) and isinstance(self.status, str) and isinstance(self.crop, str | None)
        points = [] if self.landmarks is None else self.landmarks
        flat = [v for point in points for v in point]
        if not names or len(flat) not in (0, 10) or not all(isinstance(v, int | float) for v in flat):
            raise TypeError(f"a record of {self.photo} that idn align did not write")


class KnownCrop(NamedTuple):
    """What a folder of crops needs to know of one of them."""

    name: str
    """Path relative to the manifest."""
    digest: str | None
    """Of its content."""
    landmarks: array | None
    """Ten numbers, x and y of five points in normalised coordinates."""


def read_manifest(folder: Path) -> tuple[Settings | None, list[Record]]:
    """Settings and records of an aligned folder; (None, []) where there is no manifest.

    Of several records of one photograph, the last counts. A last line without its end is ignored.
    Raises UserError for damaged or foreign content.
    """
    settings, records = _read(folder)
    return settings, list({record.photo: record for record in records}.values())


def read_crops(folder: Path) -> tuple[Settings | None, list[KnownCrop]]:
    """The same, of the crops alone and in a quarter of the memory."""
    settings, records = _read(folder)
    known: dict[str, KnownCrop | None] = {}
    for record in records:
        points = array("f", [v for point in record.landmarks for v in point]) if record.landmarks else None
        known[record.photo] = None if record.crop is None else KnownCrop(record.crop, record.digest, points)
    return settings, [crop for crop in known.values() if crop is not None]


def _read(folder: Path) -> tuple[Settings | None, Iterator[Record]]:
    """Settings of a manifest, if there is one, and its records one at a time, whose errors come with them."""
    path = folder / NAME
    if not path.is_file():
        return None, iter(())
    lines = each_json_line(path)
    try:
        first = next(lines, None)
        return (None if first is None else Settings(**first)), _records(path, lines)
    except (TypeError, AttributeError) as error:
        raise _foreign(path, error) from error


def _records(path: Path, lines: Iterator[dict[str, Any]]) -> Iterator[Record]:
    for line in lines:
        try:
            record = Record(**line)
        except (TypeError, AttributeError) as error:
            raise _foreign(path, error) from error
        yield record


def _foreign(path: Path, error: Exception) -> ForeignFile:
    return ForeignFile(path, f"is no manifest of this version of idn ({error}): align into a new folder")


class ManifestWriter:
    """Appends records to the manifest of a folder, one flushed line each."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Read what is there; nothing is written yet. Raises OptionError if it was begun with other settings."""
        self.folder, self.settings = folder, settings
        self._known, self.records = read_manifest(folder)
        if self._known is not None:
            self._check(settings)

    def _check(self, settings: Settings) -> None:
        """Raise OptionError for the first setting that the folder was begun with another value of."""
        begun = asdict(self._known)
        for name, value in asdict(settings).items():
            if name != "detector" and value != begun[name]:
                argument = "src" if name == "source" else name
                wanted = f"differs from {begun[name]}, with which the crops in {self.folder} were made: repeat that to "
                raise OptionError(argument, value, f"{wanted}continue, or give another dst")

    def check_detector(self, detector: object) -> None:
        """Raise OptionError if a detector differs from that of the folder in what its results depend on.

        detector: what it depends on stands in its attribute `settings`, if it has one.
        """
        given = getattr(detector, "settings", None)
        begun = None if self._known is None else self._known.detector
        for name in sorted(given or {}):
            if begun is not None and begun.get(name) != given[name]:
                wanted = f"differs from {begun.get(name)}, with which the crops in {self.folder} were made: repeat "
                raise OptionError(name, given[name], f"{wanted}that to continue, or give another dst", owner=detector)
        self.settings = replace(self.settings, detector=given)

    def __enter__(self) -> Self:
        """Remove a torn last line and open for appending. Raises OSError if the file cannot be written."""
        self._lines = JsonLines(self.folder / NAME)
        if self._known is None:
            self._lines.append(asdict(self.settings))
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._lines.close()

    def append(self, record: Record) -> None:
        """Write one line and hand it to the operating system. Raises OSError if the disk refuses."""
        self._lines.append(asdict(record))
        self.records.append(record)

    def latest(self, photos: Collection[str]) -> list[Record]:
        """The last record of each of these photographs that has one."""
        wanted = set(photos)
        return list({record.photo: record for record in self.records if record.photo in wanted}.values())
