"""DataLoader workers of `idn align`: one photograph -> its crop on disk and its record, in one or several processes."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from idn.data.alignment.crop import UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector
from idn.data.alignment.manifest import Record
from idn.errors import UserError
from idn.files.photos import LargePhoto, UnreadablePhoto, decode_photo, digest, printable, write_photo


class CropOptions(NamedTuple):
    """How crops are made."""

    size: int
    """Side in pixels."""
    template: str
    """Alignment template."""
    min_face: float
    """Shorter side in pixels below which a face is left out."""
    quality: int
    """1..100 for jpg and webp."""
    max_pixels: int
    """Width times height of the largest photograph that is read."""


_ODD_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
"""What is wrong with one crop's name where all others can be written."""


class Aligner(Dataset[Record | OSError]):
    """Item i writes the crop of photograph i, if it shows a face, and says what became of it.

    The item is the OSError with which the crop could not be written: raised, it would lose its number on the way from
    another process.
    """

    def __init__(
        self, src: Path, dst: Path, names: Sequence[tuple[str, str]], detector: Detector, options: CropOptions
    ) -> None:
        """names: photographs relative to `src`, each with that of its crop relative to `dst`. detector: on the CPU."""
        self.src, self.dst, self.names, self.detector, self.options = src, dst, names, detector, options

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.names)

    def __getitem__(self, index: int) -> Record | OSError:
        """Align one photograph."""
        try:
            return self._align(*self.names[index])
        except OSError as error:
            return error

    def _align(self, photo: str, name: str) -> Record:
        """Detect, judge, cut and write. Raises OSError if the crop cannot be written."""
        try:
            pixels, note = decode_photo(self.src / photo, self.options.max_pixels)
        except UnreadablePhoto as error:
            return Record(photo, "large" if isinstance(error, LargePhoto) else "unreadable", reason=str(error))
        faces, options = self.detector(pixels), self.options
        if not faces:
            return Record(photo, "no_face", reason="no face was found")
        face = faces[0]
        if face.size < options.min_face:
            reason = f"the largest face has {face.size:.0f} px, min_face={options.min_face}"
            return Record(photo, "small", reason=reason, face_px=round(face.size, 1), faces=len(faces))
        try:
            crop = cut_crop(pixels, face.landmarks, options.template, options.size)
        except UnusableLandmarks as error:
            return Record(photo, "no_face", reason=str(error), faces=len(faces))
        try:
            written = write_photo(self.dst / name, crop.image, options.quality)
        except OSError as error:
            if error.errno not in _ODD_NAMES:
                raise
            return Record(photo, "unwritable", reason=f"{printable(name)}: {error.strerror}", faces=len(faces))
        return Record(
            photo,
            "ok",
            reason=note,
            crop=name,
            digest=digest(written),
            landmarks=[[round(v, 5) for v in point] for point in crop.landmarks.tolist()],
            score=round(face.score, 4),
            box=[round(v, 1) for v in face.box.tolist()],
            face_px=round(face.size, 1),
            inside=round(crop.inside, 3),
            faces=len(faces),
        )


def align_all(aligner: Aligner, workers: int, device: torch.device) -> Iterator[Record | OSError]:
    """All items of `aligner`, in their order, whatever the number of processes, which begin at once.

    workers: processes that take turns; 0 works in this one. device: where they look for faces. Raises UserError,
    while iterating, if one of the processes is killed.
    """
    workers = min(workers, len(aligner))
    on_gpu = device.type != "cpu"
    if on_gpu and workers == 0:
        aligner.detector.to(device)
    items = iter(
        DataLoader(
            aligner,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_Move(device) if on_gpu else None,
            multiprocessing_context="spawn" if on_gpu and workers else None,  # a GPU survives no fork
        )
    )
    return _unless_killed(items)


@contextmanager
def one_thread() -> Iterator[None]:
    """While this lasts, PyTorch computes in one thread, as in a worker: with more, it rounds sums otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Move:
    """Brings the detector of a new process to a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, worker: int) -> None:
        get_worker_info().dataset.detector.to(self.device)


def _unless_killed(items: Iterator[Record | OSError]) -> Iterator[Record | OSError]:
    try:
        yield from items
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            "a process that aligned photographs was killed, perhaps because the memory is full: all crops so far are "
            "kept, run again with fewer workers"
        ) from error
