"""What the recogniser sees in the pairs before any method touches them, kept chunk by chunk, so that a stopped
evaluation goes on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from idn.errors import DamagedFile, FileError
from idn.evaluation.recogniser import Gallery, look_at_pairs
from idn.files.tensors import read_metadata, read_tensors, write_tensors

_GALLERY, _CHUNKS, _FEATURES, _SECONDS = "gallery.safetensors", "looked", "features", "seconds"
"""Names of the file of all pairs, of the folder of its parts before it is whole, of the targets' features, and of how
long it took."""


class Look(NamedTuple):
    """What is seen in N pairs."""

    source: Tensor
    """(N, D): embeddings of the sources."""
    target: Tensor
    """(N, D): the same of the targets."""
    features: Tensor
    """(N, C): of the targets, which FID and KID compare."""


class KeptGallery:
    """The gallery of an evaluation on disk.

    folder: of the evaluation.
    key: of pairs and recogniser; what was kept under another one is made anew.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path, self._chunks, self._key = folder / _GALLERY, folder / _CHUNKS, key

    @property
    def whole(self) -> bool:
        """Whether it is there."""
        return self._is_ours(self._path)

    def has(self, number: int) -> bool:
        """Whether a chunk is there."""
        return self._is_ours(self._place(number))

    def keep(self, number: int, look: Look, seconds: float) -> None:
        """Keep a chunk. seconds: how long it took."""
        found = {name: value.float().cpu() for name, value in look._asdict().items()}
        write_tensors(self._place(number), found, {"key": self._key, _SECONDS: f"{seconds:.3f}"})

    def join(self, count: int) -> None:
        """Make one file of all chunks."""
        looks = [Look(**_read(self._place(number))) for number in range(count)]
        found = look_at_pairs([(look.source, look.target) for look in looks])._asdict()
        found[_FEATURES] = torch.cat([look.features for look in looks])
        seconds = sum(float(read_metadata(self._place(number))[_SECONDS]) for number in range(count))
        write_tensors(self._path, found, {"key": self._key, _SECONDS: f"{seconds:.3f}"})
        shutil.rmtree(self._chunks)

    def read(self) -> Gallery:
        """What it holds, for judging."""
        kept = _read(self._path)
        return Gallery(*(kept[name] for name in Gallery._fields))

    def _is_ours(self, path: Path) -> bool:
        with _told(path):
            return path.is_file() and read_metadata(path).get("key") == self._key

    def _place(self, number: int) -> Path:
        return self._chunks / f"{number:06d}.safetensors"


def target_features(folder: Path) -> Tensor:
    """(P, C): of the targets of a finished evaluation. Raises FileError for a file that is damaged or gone."""
    return _read(folder / _GALLERY)[_FEATURES]


def looking_seconds(folder: Path) -> float:
    """How long a finished evaluation looked at the pairs. Raises FileError for a file that is damaged or gone."""
    with _told(folder / _GALLERY):
        return float(read_metadata(folder / _GALLERY).get(_SECONDS, 0))


def _read(path: Path) -> dict[str, Tensor]:
    with _told(path):
        return read_tensors(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What to do about a file that was made here and cannot be read."""
    try:
        yield
    except FileError as error:
        raise DamagedFile(path, "is damaged or gone: delete it and give the command of `idn eval` again") from error
