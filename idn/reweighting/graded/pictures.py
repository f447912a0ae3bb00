"""Collecting rated pictures: made once, kept as bytes in a file, and dealt out in batches."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.first_pairs import FirstPairs, Part
from idn.data.loaders import SwapData
from idn.errors import UserError
from idn.files.option_checks import require_int
from idn.images import from_uint8, to_uint8
from idn.metrics.images import absolute_error, ssim
from idn.types import IdentityEncoder, SwapBatch


class Grades(NamedTuple):
    """What the making of N pictures tells about them."""

    labels: Tensor
    """(N,) in [0, 1], 1 for the best: what a scorer learns to say."""
    grades: Tensor
    """(N,) in [0, 1]: equal for all pictures that were made in one way, such as by one stage of a teacher."""
    errors: Tensor
    """(N,): mean absolute error to the exact swap, inside the face; infinite where nobody knows."""
    differences: Tensor
    """(N,): 1 - SSIM to the exact swap, inside the face; infinite where nobody knows."""
    pairs: Tensor
    """(N,) int64: number of the source-target pair that each of them shows."""


class GradedBatch(NamedTuple):
    """N pictures with what is known about them."""

    images: Tensor
    """(N, 3, S, S) RGB in [0, 1]."""
    known: Grades


class GradedSwaps(NamedTuple):
    """What a source makes of one batch of pairs, all in one way."""

    number: int
    """Of the batch, from 0 on."""
    batch: SwapBatch
    """The N pairs."""
    images: Tensor
    """(N, 3, S, S) RGB in [0, 1]."""
    grade: float
    """Of all of them, in [0, 1]."""
    labels: Tensor | None = None
    """(N,) in [0, 1]: where every picture has its own; else the grade is their label."""


class Source(Protocol):
    """Makes pictures of several qualities out of every pair."""

    levels: int
    """How many."""

    def attach(self, data: SwapData, encoder: IdentityEncoder, device: torch.device) -> SwapData:
        """Meet what a run has beside this source, once, before the first pair, and go to a device.

        data: of the run. encoder: the recogniser that serves the student. Returns the data that the teacher behind this
        wants to be given. Raises UserError if that was trained with another encoder.
        """
        ...

    def make(self, pairs: Iterable[SwapBatch], part: Part) -> Iterator[GradedSwaps]:
        """Yield pictures of every batch `levels` times, in any order.

        pairs: gives the same batches whenever it is iterated.
        """
        ...


class GradedPictures(Dataset[GradedBatch]):
    """Batches of the pictures in a file. Item i is a pure function of the constructor's arguments and i.

    path: (P, 3, size, size) bytes; the file may be deleted once this exists. known: of all P. batch: pictures. seed:
    shuffles every pass over the pictures anew and flips half of them; None gives them as they are, in order.
    """

    def __init__(self, path: Path, size: int, known: Grades, batch: int, seed: int | None = None) -> None:
        require_int("batch", batch, 2)
        shape = (len(known.labels), 3, size, size)
        whole = torch.from_file(str(path), shared=False, size=torch.Size(shape).numel(), dtype=torch.uint8)
        self.pictures, self.known = whole.view(shape), known
        self.batch, self.seed = batch, seed
        self.pass_length = len(self)

    def __len__(self) -> int:
        """Batches of one pass: whole ones if shuffled, else also the rest."""
        count = len(self.pictures)
        return -(-count // self.batch) if self.seed is None else max(1, count // self.batch)

    def __getitem__(self, index: int) -> GradedBatch:
        """Batch `index`; a shuffled set has no last one. Raises IndexError below 0."""
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        turn, place = divmod(index, self.pass_length)
        rows = torch.arange(len(self.pictures)) if self.seed is None else self._order(turn)
        rows = rows[place * self.batch : (place + 1) * self.batch]
        images = from_uint8(self.pictures[rows])
        if self.seed is not None:
            draw = torch.Generator().manual_seed((self.seed * 0x9E3779B1 + index * 0x85EBCA77 + 1) % 2**63)
            flipped = torch.rand(len(rows), 1, 1, 1, generator=draw) < 0.5
            images = torch.where(flipped, images.flip(-1), images)
        return GradedBatch(images, Grades(*(column[rows] for column in self.known)))

    def _order(self, turn: int) -> Tensor:
        draw = torch.Generator().manual_seed((self.seed * 0x9E3779B1 + turn) % 2**63)
        return torch.randperm(len(self.pictures), generator=draw)


def collect(
    source: Source, data: SwapData, part: Part, pairs: int, batch_size: int, folder: Path, seed: int | None = None
) -> GradedPictures:
    """Let `source` make its pictures of the first `pairs` pairs of a part of `data`, and keep them.

    They go into a file in `folder` that the system removes when the last user ends, so memory does not grow with their
    number. batch_size: of the pictures; seed: see GradedPictures. Raises UserError if no pair is asked for, a picture
    is not finite, or the batch is too small.
    """
    require_int("pairs" if part == "train" else "val_pairs", pairs, 1)
    columns = []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".pictures.") as file, _progress(part) as bar:
        task = bar.add_task(part)
        for made in source.make(FirstPairs(data, part, pairs), part):
            if not made.images.isfinite().all():
                raise UserError("the teacher answered with numbers that are not finite: check its weights")
            rounded, n = to_uint8(made.images).cpu(), len(made.images)
            file.write(rounded.numpy().tobytes())
            columns.append(_known(made, from_uint8(rounded)))
            bar.update(task, advance=n, total=-(-pairs // n) * n * source.levels)
        file.flush()
        known = Grades(*map(torch.cat, zip(*columns, strict=True)))
        return GradedPictures(Path(file.name), data.size, known, batch_size, seed)


def _known(made: GradedSwaps, images: Tensor) -> Grades:
    """On the CPU. images: what was made, (N, 3, S, S), as it was kept."""
    n, batch = len(images), made.batch
    grades = torch.full((n,), made.grade)
    errors = differences = torch.full((n,), float("inf"))
    if batch.truth is not None:
        truth, face = batch.truth.cpu(), batch.face.cpu()
        exact, unknown = batch.exact.cpu(), errors
        errors = torch.where(exact, absolute_error(images, truth, face), unknown)
        differences = torch.where(exact, 1 - ssim(images, truth, face), unknown)
    labels = grades if made.labels is None else made.labels.cpu()
    return Grades(labels, grades, errors, differences, made.number * n + torch.arange(n))


def _progress(part: Part) -> Progress:
    """A bar that counts pictures."""
    text = "pictures to learn from" if part == "train" else "pictures of other people"
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
