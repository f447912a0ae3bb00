"""Batch alignment: a folder of photographs -> a folder of face crops and a manifest; can be stopped and continued."""

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from idn.data.alignment.detector import Detector
from idn.data.alignment.manifest import ManifestWriter, Record, Settings
from idn.data.alignment.workers import Aligner, CropOptions, align_all, one_thread
from idn.errors import OptionError
from idn.files.folders import make_writable
from idn.files.option_checks import require_callable, require_int, require_number, require_one_of
from idn.files.photos import list_photos
from idn.geometry import TEMPLATES
from idn.hardware import choose_device


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
    seconds: float = 0.0
    """Duration of this run."""

    def add(self, record: Record) -> None:
        """Count one photograph."""
        self.counts[record.status] += 1
        self.several += record.faces > 1
        if record.status != "ok":
            self.examples.setdefault(record.status, record)

    def table(self) -> Table:
        """The counts as a table for a console."""
        labels = {"ok": "aligned", "no_face": "no face found", "small": "face too small", "unreadable": "unreadable"}
        table = Table("", "photographs", "first example", title=str(self.folder))
        for status, label in labels.items():
            example = self.examples.get(status)
            note = f"{example.photo}: {example.reason}" if example else ""
            if status == "ok" and self.several:
                note = f"{self.several} with several faces: the largest was taken"
            if self.counts[status]:
                table.add_row(label, str(self.counts[status]), Text(note))
        fresh = self.photos - self.resumed
        rate = (
            f"{fresh} in {self.seconds:.0f} s, {self.resumed} done before" if self.resumed else f"{self.seconds:.0f} s"
        )
        table.add_row("all", str(self.photos), rate)
        return table


class _Rate(ProgressColumn):
    """Photographs per second."""

    def render(self, task: Task) -> Text:
        """Draw the figure."""
        return Text(f"{task.speed:.1f} images/s" if task.speed else "")


def _tracked(found: Iterator[Record | OSError], done: int, total: int) -> Iterator[Record | OSError]:
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


def _check_options(options: CropOptions, picture_format: str, workers: int) -> None:
    """Raise OptionError for the first option that cannot work."""
    require_one_of("template", options.template, TEMPLATES)
    require_one_of("picture_format", picture_format, ("jpg", "png", "webp"))
    require_int("size", options.size, 16, 4096)
    require_int("picture_quality", options.quality, 1, 100)
    require_number("min_face", options.min_face, 0)
    require_int("workers", workers, 0)


def _check_folders(src: Path, dst: Path) -> list[str]:
    """The photographs to align. Raises OptionError for folders that cannot work."""
    if not src.is_dir():
        raise OptionError("src", src, "is not a folder: give the folder that holds the photographs")
    inner, outer = src.resolve(), dst.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OptionError("dst", dst, f"and src={src} overlap: give a folder outside src that does not contain it")
    photos = list_photos(src)
    if not photos:
        raise OptionError("src", src, "holds no photographs (.jpg, .png, .webp, .bmp, .tif): check the path")
    return photos


def _crop_names(photos: list[str], suffix: str) -> dict[str, str]:
    """Photograph -> crop: the same path with another suffix; photographs that differ only in theirs keep it inside."""
    stems = Counter(str(PurePosixPath(p).with_suffix("")).casefold() for p in photos)
    names = {}
    for photo in photos:
        path = PurePosixPath(photo)
        alone = stems[str(path.with_suffix("")).casefold()] == 1
        names[photo] = str(path.with_suffix(suffix)) if alone else f"{photo}{suffix}"
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
) -> AlignReport:
    """Cut the largest face out of every photograph below `src` into the same place below `dst`.

    make_detector: called once all else is known to work.
    size: side of the crops in pixels.
    template: alignment template; "ffhq" is the widest, every other template can be cut from it later.
    min_face: shorter side in pixels below which a face is left out.
    picture_format: "jpg", "png" or "webp".
    picture_quality: 1..100 for jpg and webp.
    workers: processes that share the work; 0 does it in this one; the crops and the manifest are the same.
    device: where faces are looked for, see `choose_device`.
    Photographs without a usable face are recorded and passed over; those that the manifest already names are not looked
    at again. Prints the counts. Raises UserError for folders, options or a disk that cannot work.
    """
    options = CropOptions(size, template, min_face, picture_quality)
    _check_options(options, picture_format, workers)
    require_callable("make_detector", make_detector)
    where, source, target = choose_device(device), Path(str(src)), Path(str(dst))
    photos = _check_folders(source, target)
    names = _crop_names(photos, f".{picture_format}")
    writer = ManifestWriter(target, Settings(str(source.resolve()), template, size))
    done = {record.photo for record in writer.records}
    waiting = [(photo, names[photo]) for photo in photos if photo not in done]
    aligner = Aligner(source, target, waiting, make_detector(), options)
    make_writable("dst", target)
    found = align_all(aligner, workers, where)
    report = AlignReport(target, len(photos), len(photos) - len(waiting))
    started = time.monotonic()
    _write(writer, _tracked(found, report.resumed, report.photos), dst)
    report.seconds = time.monotonic() - started
    wanted = set(photos)
    for record in writer.records:
        if record.photo in wanted:
            report.add(record)
    Console().print(report.table())
    return report


def _write(writer: ManifestWriter, found: Iterator[Record | OSError], dst: str) -> None:
    """Note what became of every photograph. Raises UserError for the first crop that cannot be written."""
    try:
        with writer, one_thread():
            for record in found:
                if isinstance(record, OSError):
                    raise record
                writer.append(record)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is on a full disk" if full else f"cannot be written ({error.strerror})"
        raise OptionError("dst", dst, f"{what}: all crops so far are kept, make room and run again") from error
