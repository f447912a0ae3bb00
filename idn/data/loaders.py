"""LightningDataModules: an endless training stream that can be entered anywhere, and a fixed validation set."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.data.repeats import WINDOW, ShownAgain, window
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int
from idn.types import SwapBatch, join_batches

VALIDATION_SEED = 1_000_003
"""Added to the seed for held-out people, so that no training item repeats them."""


START = {"step": 0, "item": 0, "shown": 0, "repeats": 1, "per_step": 0}
"""Where a training stream begins: the step and the item with which a window begins, the steps in which it was shown,
and how often it shows its batches and how many items a step takes, where such a window has been begun."""


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
    what `collate` joins to one, that many at a time. val_items: how many items of `val` make one validation.
    workers: loader processes; 0 makes the items in the training process.
    Several processes take turns in the training stream, and validate on the same items. A resumed run continues with
    the item after the last one that any process trained on, however many there are now. Raises OptionError for a number
    of workers that cannot be.
    """

    repeats: int = 1
    """Steps in which a training batch is shown, see `SwapData.repeated`."""
    manifest: str | None = None
    """SHA-256 of names, landmarks and known contents of the pictures on disk that it shows, if it shows any."""

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
        require_int("workers", workers, 0)
        self.train, self.val, self.val_items = train, val, val_items
        self.batch_size, self.collate, self.workers = batch_size, collate, workers
        self.entered = dict(START)

    def train_dataloader(self) -> Iterable[Any]:
        """Enter the stream where the trainer's step counter says; every process takes its own share."""
        world, rank, (item, shown) = self.trainer.world_size, self.trainer.global_rank, self._place()
        loader, batches = self._loader(self.train, Endless(item + rank, world)), self.trainer.accumulate_grad_batches
        if self.repeats == 1:
            return loader
        return ShownAgain(loader, self.repeats, WINDOW * batches, shown * batches)

    def _place(self) -> tuple[int, int]:
        """Where the next step begins: an item of the training stream, over all processes, and how many steps have been
        taken since that item was first shown. The second is 0 unless batches are shown again.
        """
        repeats, per_step = self.repeats, self._per_step()
        item, shown, before = self.entered["item"], self.entered["shown"], self.entered["repeats"]
        if (before, self.entered["per_step"]) != (
            repeats,
            per_step,
        ):  # a window of others: go on after what it has drawn
            item, shown = item + min(shown, window(before)) * self.entered["per_step"], 0
        steps = shown + self.trainer.global_step - self.entered["step"]
        if steps < 0:
            raise UserError("the checkpoint's place in the data lies after its step, it is damaged: resume another one")
        windows, shown = divmod(steps, window(repeats) * repeats)
        return item + windows * window(repeats) * per_step, shown

    def _per_step(self) -> int:
        """Items that all processes take for a step."""
        return self.trainer.accumulate_grad_batches * (self.batch_size or 1) * self.trainer.world_size

    def state_dict(self) -> dict[str, int]:
        """Where the stream is, for the run that continues this one."""
        item, shown = self._place()
        counted = {"repeats": self.repeats, "per_step": self._per_step()}
        return {"step": self.trainer.global_step, "item": item, "shown": shown} | counted

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where the earlier run was, one that showed nothing again if it says nothing of that.

        Raises ValueError for a place that is not in the stream.
        """
        entered = {name: state_dict[name] for name in ("step", "item")}
        entered |= {name: state_dict.get(name, usual) for name, usual in START.items() if name not in entered}
        if not all(isinstance(count, int) and count >= 0 for count in entered.values()):
            raise ValueError(f"no place in the stream of data: {entered}")
        self.entered = entered

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

    train, val: their items are SwapBatches, all with equally many pairs.
    size, template: pixels and alignment template of every crop.
    photographs: whether they show real people, not drawn ones.
    Raises OptionError if the size is not divisible by 32.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        val_items: int,
        size: int,
        template: str,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
        photographs: bool = False,
    ) -> None:
        super().__init__(train, val, val_items, batch_size, collate, workers)
        check_size(size)
        self.size, self.template, self.photographs = size, template, photographs

    def with_pairs(self, train: Dataset, val: Dataset) -> Self:
        """The same loaders over other data sets: a copy, and this one stays as it is."""
        other = copy.copy(self)
        other.train, other.val = train, val
        return other

    def repeated(self, times: int) -> Self:
        """The same loaders that show every training batch in `times` steps, see `ShownAgain`; a copy.

        Raises OptionError for less than 1.
        """
        require_int("repeats", times, 1)
        other = copy.copy(self)
        other.repeats = times
        return other


class JoinedItems(Dataset[SwapBatch]):
    """Item i holds the items i * count to i * count + count - 1 of another data set, in order."""

    def __init__(self, dataset: Dataset[SwapBatch], count: int) -> None:
        self.dataset, self.count = dataset, count

    def __getitem__(self, index: int) -> SwapBatch:
        """Raises what the data set raises."""
        return join_batches([self.dataset[index * self.count + number] for number in range(self.count)])


def check_size(size: int) -> None:
    """Raise OptionError unless `size`, the side of a crop, is divisible by 32."""
    if not isinstance(size, int):
        raise OptionError("size", size, "is not a number of pixels: take a multiple of 32, such as 128")
    if size % 32 or size < 32:
        raise OptionError("size", size, f"is not divisible by 32: take {max(32, round(size / 32) * 32)}")


def procedural_data(
    renderer: FaceRenderer,
    size: int,
    template: str,
    batch: int,
    same_ratio: float,
    val_batches: int,
    seed: int,
    workers: int,
    targets_per_identity: int | None = 1,
    truth_share: float = 1.0,
) -> SwapData:
    """Endless procedural faces; validation draws other people, all pairs of different ones.

    batch: pairs per step.
    same_ratio: share of training pairs whose source and target are one person.
    targets_per_identity: training pairs in a row that have one source, see `targets_that_fit`. In validation every pair
        has its own.
    truth_share: share of training pairs whose exact swap is known, as in a set of triplets; all are in validation.
    Raises OptionError if `template` is not the one in which the faces are drawn, and for numbers that cannot be.
    """
    check_template(renderer, template)
    require_int("seed", seed)
    require_int("val_batches", val_batches, 1)
    return SwapData(
        ProceduralSwaps(
            renderer, size, batch, seed, same_ratio, targets_that_fit(targets_per_identity, batch), truth_share
        ),
        ProceduralSwaps(renderer, size, batch, seed + VALIDATION_SEED, 0.0),
        val_batches,
        size,
        template,
        workers=workers,
    )


def targets_that_fit(targets_per_identity: int | None, batch: int) -> int:
    """As given; for None the largest of 4, 2 and 1 that divides the batch into four sources or more.

    Fewer sources than four teach worse at the same number of pairs, more cost more than they bring.
    """
    if targets_per_identity is not None:
        return targets_per_identity
    require_int("batch", batch, 1)
    return next((targets for targets in (4, 2) if batch % targets == 0 and batch // targets >= 4), 1)


def check_template(renderer: FaceRenderer, template: str) -> None:
    """Raise OptionError unless the renderer draws faces aligned to that template."""
    if template != renderer.template:
        wanted = f"does not fit procedural faces, which are aligned to {renderer.template}"
        raise OptionError("template", template, f"{wanted}: take that, or photographs, which come in any")
