"""A folder of photographs -> a folder of aligned face crops and a manifest; can be stopped and continued anywhere."""

import errno
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from torch import Tensor

from idn.data.detector import Detector
from idn.data.manifest import ManifestWriter, Record, Settings
from idn.data.photos import UnreadablePhoto, list_photos, read_photo, write_photo
from idn.errors import UserError
from idn.folders import make_writable
from idn.geometry import TEMPLATES, fit_similarity, invert_affine, template_points, transform_points, warp
from idn.images import from_uint8, resize, to_uint8


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


def cut_crop(photo: Tensor, landmarks: Tensor, frame: str, size: int) -> tuple[Tensor, Tensor, float]:
    """Cut one aligned face out of a photograph, averaging over pixels where that shrinks it.

    photo: (3, H, W) uint8 RGB. landmarks: (5, 2) float64 in pixels, in the order of the templates. Returns the crop
    (3, size, size) uint8, the landmarks in its normalised coordinates, and the share of it that lies inside the
    photograph (outside, the border is repeated).
    """
    onto = fit_similarity(landmarks, template_points(frame))
    corners = transform_points(landmarks.new_tensor([(0, 0), (1, 0), (0, 1), (1, 1)]), invert_affine(onto))
    left, top = (int(v) for v in corners.amin(0).floor() - 2)
    side = int((corners.amax(0).ceil() + 2 - corners.new_tensor((left, top))).max())
    region = from_uint8(_square(photo, left, top, side))[None]
    scale = float(onto[:, :2].det().sqrt()) * size
    if scale < 1:
        region = resize(region, max(1, round(side * scale)))
    to_crop = torch.cat([onto[:, :2] * side, transform_points(onto.new_tensor([[left, top]]), onto).mT], 1)
    steps = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
    probes = transform_points(torch.cartesian_prod(steps, steps), invert_affine(onto))
    inside = ((probes >= 0) & (probes <= probes.new_tensor((photo.shape[2], photo.shape[1])))).all(-1)
    crop = to_uint8(warp(region, to_crop, size))[0]
    return crop, transform_points(landmarks, onto), float(inside.double().mean())


def _square(photo: Tensor, left: int, top: int, side: int) -> Tensor:
    """(3, side, side) cut-out of (3, H, W); where it leaves the photograph, the nearest border pixel is repeated."""
    height, width = photo.shape[-2:]
    rows = torch.arange(top, top + side).clamp(0, height - 1)
    columns = torch.arange(left, left + side).clamp(0, width - 1)
    part = photo[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if part.shape[-2:] == (side, side):
        return part
    return part[:, rows - rows[0]][:, :, columns - columns[0]]


class _Rate(ProgressColumn):
    """Photographs per second."""

    def render(self, task: Task) -> Text:
        """Draw the figure."""
        return Text(f"{task.speed:.1f} images/s" if task.speed else "")


def _tracked(waiting: list[str], total: int) -> Iterator[str]:
    """Go through the photographs behind a progress bar that counts those of earlier runs as done."""
    columns = (
        TextColumn("aligning"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("aligning", total=total, completed=total - len(waiting))
        for photo in waiting:
            yield photo
            progress.advance(task)


def _check_folders(src: Path, dst: Path) -> list[str]:
    """The photographs to align. Raises UserError for folders that cannot work."""
    if not src.is_dir():
        raise UserError(f"src={src} is not a folder: give the folder that holds the photographs")
    inner, outer = src.resolve(), dst.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UserError(f"dst={dst} and src={src} overlap: give a dst outside src that does not contain it")
    photos = list_photos(src)
    if not photos:
        raise UserError(f"src={src} holds no photographs (.jpg, .png, .webp, .bmp, .tif): check the path")
    make_writable("dst", dst)
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


def _align_one(
    src: Path, photo: str, target: Path, crop: str, detector: Detector, settings: Settings, min_face: int, quality: int
) -> Record:
    """Detect, judge, cut and write one photograph. Raises OSError if the crop cannot be written."""
    try:
        pixels = read_photo(src / photo)
    except UnreadablePhoto as error:
        return Record(photo, "unreadable", reason=str(error))
    faces = detector(pixels)
    if not faces:
        return Record(photo, "no_face", reason="no face was found")
    face = faces[0]
    if face.size < min_face:
        reason = f"the largest face has {face.size:.0f} px, min_face={min_face}"
        return Record(photo, "small", reason=reason, face_px=round(face.size, 1), faces=len(faces))
    image, landmarks, inside = cut_crop(pixels, face.landmarks, settings.frame, settings.size)
    write_photo(target / crop, image, quality)
    return Record(
        photo,
        "ok",
        crop=crop,
        landmarks=[[round(v, 5) for v in point] for point in landmarks.tolist()],
        score=round(face.score, 4),
        box=[round(v, 1) for v in face.box.tolist()],
        face_px=round(face.size, 1),
        inside=round(inside, 3),
        faces=len(faces),
    )


def align_folder(
    src: str,
    dst: str,
    detector: Detector,
    size: int = 256,
    frame: str = "ffhq",
    min_face: int = 48,
    kind: str = "jpg",
    quality: int = 95,
) -> AlignReport:
    """Cut the largest face out of every photograph below `src` into the same place below `dst`.

    size: side of the crops in pixels. frame: alignment template; "ffhq" is the widest, every other template can be cut
    from it later. min_face: shorter side in pixels below which a face is left out. kind: "jpg", "png" or "webp".
    quality: 1..100 for jpg and webp. Photographs without a usable face are recorded and passed over; those that the
    manifest already names are not looked at again. Prints the counts. Raises UserError for folders, options or a disk
    that cannot work.
    """
    if frame not in TEMPLATES or kind not in ("jpg", "png", "webp") or not 1 <= quality <= 100 or size < 16:
        raise UserError(
            f"frame={frame} must be one of {', '.join(sorted(TEMPLATES))}, kind={kind} one of jpg, png, webp, "
            f"quality={quality} 1 to 100 and size={size} at least 16"
        )
    source, target = Path(src), Path(dst)
    photos = _check_folders(source, target)
    names = _crop_names(photos, f".{kind}")
    settings = Settings(str(source.resolve()), frame, size)
    started = time.monotonic()
    try:
        with ManifestWriter(target, settings) as manifest:
            done = {record.photo for record in manifest.records}
            waiting = [photo for photo in photos if photo not in done]
            for photo in _tracked(waiting, len(photos)):
                manifest.append(_align_one(source, photo, target, names[photo], detector, settings, min_face, quality))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is full" if full else f"cannot be written ({error.strerror})"
        raise UserError(f"the disk of dst={dst} {what}: all crops so far are kept, make room and run again") from error
    report = AlignReport(target, len(photos), len(photos) - len(waiting), seconds=time.monotonic() - started)
    wanted = set(photos)
    for record in manifest.records:
        if record.photo in wanted:
            report.add(record)
    Console().print(report.table())
    return report
