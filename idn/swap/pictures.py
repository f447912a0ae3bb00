"""Files of pictures: one photograph, an aligned crop, or a folder with all its subfolders."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.data.alignment.detector import Detector
from idn.errors import FileError, OptionError, UserError
from idn.files.photos import left_out, list_photos
from idn.images import from_uint8, resize, to_uint8
from idn.provenance.stamp import KINDS, Stamp
from idn.swap.photo import Swapping, swap_photo
from idn.swap.report import Report
from idn.swap.sources import aligned_crop
from idn.swap.still import check_still, open_photo
from idn.swap.turned_faces import said_of_turned

WRITTEN = {ending.removeprefix("."): ending for ending in KINDS}
"""Formats of pictures that are written, by what users type, with their endings."""


@dataclass
class PictureWork:
    """What is done to each picture.

    swapping: see there.
    detector: of faces; None for aligned crops, which are swapped as they are, in the size of the model.
    overwrite: whether files that are there already are replaced.
    picture_format: one of WRITTEN; None keeps the format of the target, or takes PNG where that cannot be written.
    quality: of JPEG, WebP and AVIF, 1 to 100.
    stamp: what results say about themselves.
    report: where it is counted.
    sources: files that are never replaced.
    """

    swapping: Swapping
    detector: Detector | None
    overwrite: bool
    picture_format: str | None
    quality: int
    stamp: Stamp
    report: Report
    sources: Sequence[Path] = ()

    def ending(self, target: Path) -> str:
        """Of the file that is written for a target."""
        if self.picture_format is not None:
            return WRITTEN[self.picture_format]
        kept = target.suffix.lower() in WRITTEN.values()
        return target.suffix if kept else ".png"

    def write(self, target: Path, out: Path) -> None:
        """Swap one file. Raises UserError for one that cannot be read, and where there is no face to swap."""
        header = check_still(target)
        pixels = open_photo(target)
        if header.transparent:
            self.report.notes.append(f"{target}: its transparent parts were laid over grey")
        if header.deep:
            self.report.notes.append(f"{target}: its brightnesses were brought to eight bits")
        self.report.pictures += 1
        done = self._crop(target, pixels) if self.detector is None else self._photo(target, pixels)
        with self.swapping.parts.measured("encode"), _refused_picture(out):
            self.stamp.save(done.permute(1, 2, 0).contiguous().numpy(), out, self.swapping.model.lineage, self.quality)
        self.report.written.append(str(out))

    def _photo(self, target: Path, pixels: Tensor) -> Tensor:
        report, swapping = self.report, self.swapping
        done = swap_photo(pixels, self.detector, swapping)
        report.faces += done.faces
        report.swapped += len(done.swapped)
        report.aside += done.aside
        if not done.swapped:
            report.without_face += 1
            if done.aside:
                raise FileError(target, f"{said_of_turned(done.aside, swapping.most_yaw)}: nothing was written")
            faces = "1 face, which is not" if done.faces == 1 else f"{done.faces} faces, none of which is"
            shown = f"{faces} the chosen one" if done.faces else "no face"
            raise FileError(target, f"shows {shown}: nothing was written")
        for one in done.swapped:
            self._compare(one.image, from_uint8(one.crop.image), one.source)
        return done.pixels

    @torch.inference_mode()
    def _crop(self, target: Path, pixels: Tensor) -> Tensor:
        side = self.swapping.model.size
        given = resize(from_uint8(aligned_crop(target, pixels))[None], side)
        with self.swapping.parts.measured("network"):
            image = self.swapping.sources[0].person(given).image
        self.report.faces += 1
        self.report.swapped += 1
        self._compare(image[0], given[0], 0)
        return to_uint8(image)[0]

    def _compare(self, image: Tensor, before: Tensor, source: int) -> None:
        """Note how like the source a crop is, after and before."""
        after, earlier = likeness(self.swapping, image, before, source)
        if after is not None:
            self.report.similarity.append(after)
            self.report.before.append(earlier)


@torch.inference_mode()
def likeness(swapping: Swapping, image: Tensor, before: Tensor, source: int) -> tuple[float | None, float]:
    """Cosine of a swapped crop to its source, and of what it replaced; None where the model cannot tell.

    image, before: (3, S, S) in [0, 1].
    source: number of the source.
    """
    who = swapping.sources[source].who
    if who is None or who.embedding is None:
        return None, 0.0
    seen = swapping.model.look(torch.stack([image, before])).embedding.cpu()
    after, earlier = (seen @ who.embedding.cpu().mT)[:, 0].tolist()
    return after, earlier


@contextmanager
def _refused_picture(out: Path) -> Iterator[None]:
    """What a disk or a format says against a picture, as FileError."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:  # formats that end at some size say so in either way
        said = getattr(error, "strerror", None) or error
        advice = "make room, or give another place or format"
        raise FileError(out, f"cannot be written ({said}): nothing of it was; {advice}") from error


def out_file(target: Path, out: Path, ending: str) -> Path:
    """Where the result of one file goes: `out`, or a file of the target's name in it if it is a folder."""
    return out / f"{target.stem}{ending}" if out.is_dir() else out


def check_out(target: Path, out: Path, overwrite: bool, sources: Sequence[Path] = ()) -> None:
    """Raise OptionError for a file that is the target or a source, or is there already, and for a closed folder."""
    for given, name in ((target, "target"), *((source, "source") for source in sources)):
        if out.exists() and given.exists() and out.samefile(given):
            raise OptionError("out", out, f"is the {name} itself: give another file")
    if out.exists() and not overwrite:
        raise OptionError("out", out, "is there already: add overwrite=true, or give another file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = out.parent / f".{out.name}.writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OptionError("out", out, f"cannot be written ({error.strerror}): give another place") from error


def swap_picture(target: Path, out: Path, work: PictureWork) -> None:
    """Swap one photograph or crop. Raises OptionError for an output that cannot be, and as `PictureWork.write`."""
    check_still(target)
    path = out_file(target, out, work.ending(target))
    if path.suffix.lower() not in WRITTEN.values():
        raise OptionError("out", path, f"must end with one of {', '.join(WRITTEN.values())}")
    check_out(target, path, work.overwrite, work.sources)
    work.write(target, path)


def swap_folder(
    root: Path,
    out: Path,
    work: PictureWork,
    progress: Callable[[int, int], None] = lambda done, total: None,
    others: Callable[[Path, Path], None] | None = None,
    other_names: tuple[str, ...] = (),
) -> None:
    """Swap every photograph of a folder: same names and subfolders in another one.

    What fails is noted in the report and stops nobody, files that are there already are left alone.
    progress: told how many files are done, and how many there are.
    others, other_names: what is done with files of other kinds, such as videos, target and output given, and their
        names relative to the folder.
    Raises OptionError for folders that cannot work, and UserError where nothing could be written.
    """
    inner, outer = root.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OptionError("out", out, f"and target={root} overlap: give a folder outside target that does not hold it")
    found = list_photos(root)
    names = sorted([*found.names, *other_names])
    if not names:
        raise OptionError("target", root, "holds no photographs or videos: check the path")
    for done, name in enumerate(names):
        progress(done, len(names))
        target, other = root / name, name in other_names
        path = out / (name if other else PurePosixPath(name).with_suffix(work.ending(Path(name))))
        try:
            check_out(target, path, work.overwrite, work.sources)
            if other:
                others(target, path)
            else:
                work.write(target, path)
        except OptionError as error:
            work.report.failed.append((name, f"{error.value} {error.wanted}"))
        except (UserError, OSError) as error:
            work.report.failed.append((name, str(error).removeprefix(f"{target} ")))
    others_there = found._replace(ignored=found.ignored - Counter(PurePosixPath(n).suffix.lower() for n in other_names))
    if said := left_out(others_there):
        work.report.notes.append(f"left out: {', '.join(said)}")
    if not work.report.written:
        work.report.show()
        raise UserError(f"nothing of target={root} was swapped: the reasons stand above")


def timed(report: Report) -> Callable[[], None]:
    """Start a clock; the call that is returned stops it."""
    started = time.monotonic()

    def stop() -> None:
        report.seconds = time.monotonic() - started

    return stop
