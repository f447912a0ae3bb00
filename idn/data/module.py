"""Data loaders for a run: an endless training stream that can be entered anywhere, and a fixed validation set."""

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.errors import UserError

VALIDATION_SEED = 1_000_003
"""Added to the seed for held-out people, so that no training item repeats them."""


class Endless(Sampler[int]):
    """first, first + stride, first + 2 * stride, ... without end, for data sets that make any item on demand."""

    def __init__(self, first: int, stride: int = 1) -> None:
        self.first, self.stride = first, stride

    def __iter__(self) -> Iterator[int]:
        """Count upwards."""
        index = self.first
        while True:
            yield index
            index += self.stride


class StreamData(pl.LightningDataModule):
    """An endless training stream and a fixed validation set.

    train, val: data sets whose items are pure functions of their index: whole batches when `batch_size` is None, else
    samples that `collate` joins. val_items: how many items of `val` make one validation.
    workers: loader processes; 0 makes the items in the training process.
    A resumed run continues with the item after the last one it trained on.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        val_items: int,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train, self.val, self.val_items = train, val, val_items
        self.batch_size, self.collate, self.workers = batch_size, collate, workers

    def train_dataloader(self) -> DataLoader:
        """Enter the stream where the trainer's step counter says; every process takes its own share."""
        done = self.trainer.global_step * self.trainer.accumulate_grad_batches * (self.batch_size or 1)
        world, rank = self.trainer.world_size, self.trainer.global_rank
        return self._loader(self.train, Endless(done * world + rank, world))

    def val_dataloader(self) -> DataLoader:
        """Always the same items."""
        return self._loader(self.val, range(self.val_items))

    def _loader(self, dataset: Dataset, indices: Any) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=indices,
            collate_fn=self.collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class SwapData(StreamData):
    """Source-target pairs, all crops of one size and framing.

    size, frame: pixels and alignment template of every crop. Raises UserError if the size is not divisible by 32.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        val_items: int,
        size: int,
        frame: str,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__(train, val, val_items, batch_size, collate, workers)
        if not isinstance(size, int):
            raise UserError(f"data.size={size} is not a number of pixels: take a multiple of 32, such as 128")
        if size % 32 or size < 32:
            raise UserError(f"data.size={size} is not divisible by 32: take {max(32, round(size / 32) * 32)}")
        self.size, self.frame = size, frame


def procedural_data(
    renderer: FaceRenderer,
    size: int,
    frame: str,
    batch: int,
    same_ratio: float,
    val_batches: int,
    seed: int,
    workers: int,
) -> SwapData:
    """Endless procedural faces; validation draws other people, all pairs of different ones.

    batch: pairs per step. same_ratio: share of training pairs whose source and target are one person.
    Raises UserError if `frame` is not the framing in which the faces are drawn.
    """
    check_frame(renderer, frame)
    return SwapData(
        ProceduralSwaps(renderer, size, batch, seed, same_ratio),
        ProceduralSwaps(renderer, size, batch, seed + VALIDATION_SEED, 0.0),
        val_batches,
        size,
        frame,
        workers=workers,
    )


def check_frame(renderer: FaceRenderer, frame: str) -> None:
    """Raise UserError unless the renderer draws in that framing."""
    if frame != renderer.frame:
        raise UserError(f"frame={frame} does not fit procedural faces: these are framed as {renderer.frame}")
