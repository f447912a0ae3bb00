"""Batch alignment: a folder of photographs -> a folder of face crops and a manifest; can be stopped and continued."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from idn.data.alignment.detector import Detector
from idn.data.alignment.manifest import ManifestWriter, Record, Settings
from idn.data.alignment.workers import Aligner, CropOptions, align_all, one_thread
from idn.data.folder_scan import MANY
from idn.data.kept_index import open_index
from idn.errors import OptionError
from idn.files.folders import make_writable
from idn.files.option_checks import require_callable, require_int, require_number, require_one_of
from idn.files.photos import MAX_PIXELS, SUFFIXES, PhotoList, left_out, list_photos, printable
from idn.files.refused_disk import refused_disk
from idn.geometry.templates import TEMPLATES
from idn.hardware import choose_device

_REST = 0.1
"""Seconds after which a folder does not count as being changed."""


@dataclass
class AlignReport:
    """What became of the photographs of a folder."""

    folder: Path
    """Where the crops are."""
    photos: int
    """How many photographs the source folder holds."""
    resumed: int
    """How many of them an earlier run had already dealt with."""
    counts: Counter[str] = field(default_factory=Counter)
    """Photographs by status, those of earlier runs included."""
    several: int = 0
    """Photographs that show more than one face; the largest was taken."""
    examples: dict[str, Record] = field(default_factory=dict)
    """The first record of each status that gave no crop."""
    notes: list[Record] = field(default_factory=list)
    """Photographs of which something was passed over to make their crop."""
    others: list[str] = field(default_factory=list)
    """What else the folder holds that was not looked at, a few words each."""
    seconds: float = 0.0
    """Duration of this run."""

    def add(self, record: Record) -> None:
        """Count one photograph."""
        self.counts[record.status] += 1
        self.several += record.faces > 1
        if record.status != "ok":
            self.examples.setdefault(record.status, record)
        elif record.reason is not None:
            self.notes.append(record)

    def table(self) -> Table:
        """The counts as a table for a console."""
        table = Table("", "photographs", "first example", title=printable(str(self.folder)))
        for status, label in _LABELS.items():
            example = self.examples.get(status)
            note = _example(example) if example else ""
            if status == "ok" and self.several:
                note = f"{self.several} with several faces: the largest was taken"
            if self.counts[status]:
                table.add_row(label, str(self.counts[status]), Text(note))
        if self.notes:
            table.add_row("of them with a note", str(len(self.notes)), Text(_example(self.notes[0])))
        fresh = self.photos - self.resumed
        rate = (
            f"{fresh} in {self.seconds:.0f} s, {self.resumed} done before" if self.resumed else f"{self.seconds:.0f} s"
        )
        table.add_row("all", str(self.photos), rate)
        if self.others:
            table.add_row("not looked at", "", Text(", ".join(self.others)))
        return table


_LABELS = {
    "ok": "aligned",
    "no_face": "no face found",
    "small": "face too small",
    "unreadable": "unreadable",
    "large": "more than max_pixels",
    "unwritable": "name cannot be written",
}
"""Status of a record -> what the table calls it."""


def _example(record: Record) -> str:
    return printable(f"{record.photo}: {record.reason}")


class _Rate(ProgressColumn):
    """Photographs per second."""

    def render(self, task: Task) -> Text:
        """Draw the figure."""
        return Text(f"{task.speed:.1f} images/s" if task.speed else "")


def _tracked(found: Iterator[Record | OSError], done: int, total: int) -> Generator[Record | OSError, None, None]:
    """Pass on what became of the photographs, behind a progress bar that counts those of earlier runs as done."""
    columns = (
        TextColumn("aligning"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("aligning", total=total, completed=done)
        for record in found:
            yield record
            progress.advance(task)


def _check_options(options: CropOptions, picture_format: str, workers: int, make_detector: object) -> None:
    """Raise OptionError for the first option that cannot work."""
    require_one_of("template", options.template, TEMPLATES)
    require_one_of("picture_format", picture_format, ("jpg", "png", "webp"))
    require_int("size", options.size, 16, 4096)
    require_int("picture_quality", options.quality, 1, 100)
    require_number("min_face", options.min_face, 0)
    require_int("workers", workers, 0)
    require_int("max_pixels", options.max_pixels, 1)
    require_callable("make_detector", make_detector)


def _check_folders(src: Path, dst: Path) -> PhotoList:
    """The photographs to align. Raises OptionError for folders that cannot work."""
    if not src.is_dir():
        raise OptionError("src", src, "is not a folder: give the folder that holds the photographs")
    inner, outer = src.resolve(), dst.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OptionError("dst", dst, f"and src={src} overlap: give a folder outside src that does not contain it")
    found = list_photos(src)
    if not found.names:
        other = f", but {', '.join(left_out(found))}" if left_out(found) else ""
        raise OptionError("src", src, f"holds no photographs ({', '.join(sorted(SUFFIXES))}){other}: check the path")
    return found


def crop_names(photos: list[str], known: dict[str, str], suffix: str) -> dict[str, str]:
    """Photograph -> crop, no two the same where the case of letters does not count either.

    known: crops of earlier runs, by photograph. The crop of any other has the path of its photograph with another
    suffix; it keeps the photograph's own inside where photographs differ in nothing else, and a number where that is
    taken.
    """
    stems = Counter(str(PurePosixPath(p).with_suffix("")).casefold() for p in photos)
    names, taken = {}, {crop.casefold() for crop in known.values()}
    for photo in (photo for photo in photos if photo not in known):
        path = PurePosixPath(photo)
        alone = stems[str(path.with_suffix("")).casefold()] == 1
        wanted = [str(path.with_suffix(suffix))] if alone else []
        numbered = (f"{photo}.{number}{suffix}" for number in count(2))
        names[photo] = next(n for n in chain(wanted, [f"{photo}{suffix}"], numbered) if n.casefold() not in taken)
        taken.add(names[photo].casefold())
    return names


def align_folder(
    src: str,
    dst: str,
    make_detector: Callable[[], Detector],
    size: int = 256,
    template: str = "ffhq",
    min_face: float = 48,
    picture_format: str = "jpg",
    picture_quality: int = 95,
    workers: int = 0,
    device: str = "cpu",
    max_pixels: int = MAX_PIXELS,
) -> AlignReport:
    """Cut the largest face out of every photograph below `src` into the same place below `dst`.

    make_detector: called once all else is known to work.
    size, template, min_face, max_pixels: see CropOptions; every other template can be cut from "ffhq" later.
    picture_format, picture_quality: "jpg", "png" or "webp"; 1..100 for jpg and webp.
    workers: processes that share the work; 0 does it in this one; the crops and the manifest are the same.
    device: where faces are looked for, see `choose_device`.
    Photographs without a usable face are recorded and passed over; those that the manifest already names are not looked
    at again, unless they had too many pixels. Prints the counts; when interrupted, how many are done. Of many crops, it
    keeps the index with which runs begin.
    Raises OptionError for folders, options or a disk that cannot work, and for options that differ from those of an
    earlier run.
    """
    options = CropOptions(size, template, min_face, picture_quality, max_pixels)
    _check_options(options, picture_format, workers, make_detector)
    where, source, target = choose_device(device), Path(str(src)), Path(str(dst))
    found = _check_folders(source, target)
    settings = Settings(str(source.resolve()), template, size, min_face, picture_format, picture_quality)
    writer = ManifestWriter(target, settings)
    waiting = _waiting(found.names, writer.records, f".{picture_format}")
    detector = make_detector()
    writer.check_detector(detector)
    make_writable("dst", target)
    made = align_all(Aligner(source, target, waiting, detector, options), workers, where)
    report = AlignReport(target, len(found.names), len(found.names) - len(waiting), others=left_out(found))
    _write(writer, made, found.names, report)
    if report.counts["ok"] >= MANY:
        time.sleep(_REST)
        open_index(target)
    return report


def _waiting(photos: list[str], records: list[Record], suffix: str) -> list[tuple[str, str]]:
    """Photographs that no earlier run has dealt with, with the names of their crops. records: of such runs."""
    done = {record.photo for record in records if record.status != "large"}
    names = crop_names(photos, {record.photo: record.crop for record in records if record.crop is not None}, suffix)
    return [(photo, names[photo]) for photo in photos if photo not in done]


def _write(writer: ManifestWriter, made: Iterator[Record | OSError], photos: list[str], report: AlignReport) -> None:
    """Note what became of every photograph, and print it. Raises OptionError for a crop that cannot be written."""
    written, started = report.resumed, time.monotonic()
    try:
        with (
            refused_disk("dst", report.folder, "all crops so far"),
            writer,
            one_thread(),
            closing(_tracked(made, report.resumed, report.photos)) as found,
        ):
            for record in found:
                if isinstance(record, OSError):
                    raise record
                writer.append(record)
                written += 1
    except KeyboardInterrupt:
        said = f"stopped: {written} of {report.photos} photographs are done, the same command goes on with the others"
        print(said, file=sys.stderr)
        raise
    report.seconds = time.monotonic() - started
    for record in writer.latest(photos):
        report.add(record)
    Console().print(report.table())
