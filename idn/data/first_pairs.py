"""Iterable of the first pairs of a data set, for whoever wants a fixed number of them outside of a training run."""

from collections.abc import Iterator
from typing import Literal

from torch.utils.data import DataLoader

from idn.data.loaders import Endless, SwapData
from idn.types import SwapBatch

Part = Literal["train", "val"]
"""Pairs to learn from, and those of held-out people."""


class FirstPairs:
    """The first `count` pairs of one part of `data`, and those that complete the last batch.

    Every iteration makes them anew, so nothing is kept in memory.
    """

    def __init__(self, data: SwapData, part: Part, count: int) -> None:
        self.data, self.part, self.count = data, part, count

    def __iter__(self) -> Iterator[SwapBatch]:
        """Whole batches of the size that the data gives."""
        data, left = self.data, self.count
        loader = DataLoader(
            getattr(data, self.part),
            batch_size=data.batch_size,
            sampler=Endless(0),
            collate_fn=data.collate,
            num_workers=data.workers,
        )
        for batch in loader:
            yield batch
            left -= len(batch.target)
            if left <= 0:
                return
