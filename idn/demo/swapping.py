"""One swap with everything that happens on the way: crops, mask, time of each part; for people who look."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.alignment.crop import Crop
from idn.errors import OptionError, UserError
from idn.files.digests import file_sha256
from idn.geometry.warping import paste
from idn.images import from_uint8, resize, to_uint8
from idn.provenance.metadata import Lineage
from idn.provenance.stamp import Stamp
from idn.swap.opacity import opacity
from idn.swap.source_identity import CROP, cut_person, look
from idn.swap.still import decode_upload
from idn.swap.swapper import Swapper
from idn.swap.turned_faces import MOST_YAW, facing, said_of_turned

PARTS = ("read", "find and align", "identity", "network", "paste", "mark and write")
"""Parts of a swap, in their order."""


class Answer(NamedTuple):
    """What came of one swap. Pictures are PNG files."""

    picture: bytes
    """The result, with everything that says that it is synthetic."""
    views: dict[str, bytes]
    """The crops of source, target and result and, if the network has one, its mask; marked as the result is."""
    seconds: dict[str, float]
    """Of each of PARTS."""
    similarity: float
    """Cosine between the source and the result, as the student's encoder sees them."""
    before: float
    """The same between the source and the target."""


class Swapping:
    """Swaps pictures with one of several students, one at a time.

    students: files by the names that people choose from; at least one.
    open_student: makes a swapper of a file, once it is asked for.
    stamp: of the pictures that leave.
    """

    def __init__(self, students: Mapping[str, Path], open_student: Callable[[Path], Swapper], stamp: Stamp) -> None:
        if not students:
            raise OptionError("students", "[]", "names no student: give the file of one")
        self.students, self.stamp, self._open = dict(students), stamp, open_student
        self._opened: dict[str, tuple[Swapper, Lineage]] = {}
        self._lock = threading.Lock()

    def opened(self, name: str) -> tuple[Swapper, Lineage]:
        """A student by its name, and what pictures say of it. Raises UserError for others, and unusable files."""
        if name not in self.students:
            raise UserError(f"there is no student {name!r}: choose one of {', '.join(self.students)}")
        if name not in self._opened:
            path = self.students[name]
            self._opened[name] = self._open(path), Lineage(file_sha256(path), {"Student": name})
        return self._opened[name]

    def drawn_only(self, name: str) -> bool:
        """Whether a student knows drawn faces alone, and those as crops."""
        return bool(getattr(self.opened(name)[0].encoder, "drawn_only", False))

    @torch.inference_mode()
    def swap(self, name: str, source: bytes, target: bytes, aligned: bool) -> Answer:
        """Put the person of one picture into another.

        source, target: files of pictures.
        aligned: whether both are square crops in the student's framing.
        Raises UserError for pictures that cannot be read, or show no face that can be meant.
        """
        with self._lock:
            swapper, lineage = self.opened(name)
            clock = _Clock()
            with clock.measured("read"):
                photos = [_pixels(content, what) for content, what in ((source, "source"), (target, "target"))]
            with clock.measured("find and align"):
                here = _cut(swapper, photos[0], aligned, CROP, "the source")
                there = _cut(swapper, photos[1], aligned, swapper.size, "the target")
                if not aligned and not facing(there.landmarks, MOST_YAW):
                    raise UserError(f"the target {said_of_turned(1, MOST_YAW)}: choose another picture")
            with clock.measured("identity"):
                who = look(swapper.encoder, here.image.to(swapper.device))
            with clock.measured("network"):
                given = resize(from_uint8(there.image)[None].to(swapper.device), swapper.size)
                out = swapper.student(given, who)
                image = out.image.float().clamp(0, 1).cpu()
            with clock.measured("paste"):
                mask = None if out.mask is None else out.mask.float().clamp(0, 1).cpu()
                share = opacity(mask, swapper.template, swapper.size)
                result = image if aligned else paste(from_uint8(photos[1])[None], image, there.matrix, share)
            with clock.measured("mark and write"):
                picture = self._written(result, lineage)
            crops = {"source": from_uint8(here.image)[None], "target": given.cpu(), "result": image}
            if mask is not None:
                crops["mask"] = mask.expand(-1, 3, -1, -1)
            views = {what: self._written(resize(crop, swapper.size), lineage) for what, crop in crops.items()}
            after, before = (look(swapper.encoder, to_uint8(one)[0].to(swapper.device)) for one in (image, given))
            likeness = [float((who.embedding * other.embedding).sum()) for other in (after, before)]
            return Answer(picture, views, clock.seconds, *likeness)

    def _written(self, image: Tensor, lineage: Lineage) -> bytes:
        """(1, 3, H, W) in [0, 1] as a PNG file. It lies on the disk for a moment only, in a folder of its own."""
        pixels = to_uint8(image)[0].permute(1, 2, 0).contiguous().cpu().numpy()
        with TemporaryDirectory(prefix="idn-demo-") as folder:
            path = Path(folder, "swapped.png")
            self.stamp.save(pixels, path, lineage)
            return path.read_bytes()


class _Clock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def measured(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started


def _pixels(content: bytes, what: str) -> Tensor:
    """(3, H, W) uint8 RGB of an uploaded picture. Raises UserError for what is none."""
    if not content:
        raise UserError(f"there is no {what} yet: choose a picture or take one with the camera")
    return decode_upload(content, f"the {what}")


def _cut(swapper: Swapper, photo: Tensor, aligned: bool, size: int, name: str) -> Crop:
    """The crop that a picture is, or the one of its face."""
    height, width = photo.shape[1:]
    if aligned:
        if height != width:
            raise UserError(f"{name} is {width} x {height} px: an aligned crop is square")
        return Crop(photo, torch.empty(0), 1.0, torch.eye(2, 3))
    if getattr(swapper.encoder, "drawn_only", False):
        raise UserError("this student knows drawn faces only, and those as crops: say that the pictures are aligned")
    if swapper.detector is None:
        raise UserError("there is no face detector: say that the pictures are aligned crops")
    return cut_person(photo, swapper.detector, swapper.template, size, name)
