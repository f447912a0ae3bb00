"""Batches that are shown again: their order, every entry into it, nobody asked twice, and nothing else changed."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import Dataset

from idn.data.loaders import SwapData
from idn.data.repeats import WINDOW, ShownAgain
from idn.errors import OptionError, UserError
from idn.types import Kept, SwapBatch, join_batches
from tests.conftest import SIZE, Colours, quiet_trainer
from tests.raising import raises


class Counted(Dataset[SwapBatch]):
    """Coloured pictures that remember which items were drawn; the source of item i has the brightness i / 1000."""

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def __getitem__(self, index: int) -> SwapBatch:
        self.drawn.append(index)
        batch = Colours(0)[index]
        return batch._replace(source=torch.full_like(batch.source, index / 1000))


def item_of(batch: SwapBatch) -> list[int]:
    """Items of a batch of four rows each."""
    return (batch.source[::4, 0, 0, 0] * 1000).round().int().tolist()


def shown(
    steps: int, start: int = 0, state: dict[str, int] | None = None, times: int = 2, batch: int | None = None, **trainer
) -> tuple[list[list[int]], dict[str, int], list[int]]:
    """Items of every batch of a process from step `start` on, the state after them, and what was drawn."""
    train, joined = Counted(), {} if batch is None else {"batch_size": batch, "collate": join_batches}
    data = SwapData(train, Colours(1), 1, SIZE, "ffhq", **joined).repeated(times)
    data.trainer = SimpleNamespace(
        **{"world_size": 1, "global_rank": 0, "accumulate_grad_batches": 1} | trainer, global_step=start
    )
    if state is not None:
        data.load_state_dict(state)
    count = steps * data.trainer.accumulate_grad_batches
    seen = [item_of(found) for found in islice(iter(data.train_dataloader()), count)]
    data.trainer.global_step = start + steps
    return seen, data.state_dict(), train.drawn


def test_a_window_is_shown_in_turn_before_it_is_shown_again_and_drawn_once() -> None:
    seen, _, drawn = shown(2 * 3 * WINDOW, times=3)
    first, second = [[[item] for item in range(start, start + WINDOW)] for start in (0, WINDOW)]
    assert seen == 3 * first + 3 * second
    assert drawn == list(range(2 * WINDOW))


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("trainer", [{}, {"accumulate_grad_batches": 3}, {"world_size": 2, "global_rank": 1}])
def test_a_run_goes_on_at_any_step(batch: int | None, trainer: dict[str, int]) -> None:
    steps = 11
    whole, end, _ = shown(steps, batch=batch, **trainer)
    for first in range(steps):
        before, state, _ = shown(first, batch=batch, **trainer)
        after, last, _ = shown(steps - first, first, state, batch=batch, **trainer)
        assert before + after == whole and last == end, first


def test_processes_share_every_batch_that_is_shown() -> None:
    shares = [shown(2 * WINDOW, world_size=2, global_rank=rank)[0] for rank in (0, 1)]
    together = [sorted(one + other) for one, other in zip(*shares, strict=True)]
    assert together == 2 * [[2 * item, 2 * item + 1] for item in range(WINDOW)]
    alone, _, _ = shown(2 * WINDOW, accumulate_grad_batches=2)
    assert together == [one + other for one, other in zip(alone[::2], alone[1::2], strict=True)]
    _, state, _ = shown(WINDOW + 1, world_size=2, global_rank=0)
    after, _, _ = shown(WINDOW - 1, WINDOW + 1, state, accumulate_grad_batches=2)
    assert after == alone[2 * (WINDOW + 1) :], "another number of processes goes on with the same pairs in every step"


@pytest.mark.parametrize("other", [{"times": 1}, {"times": 2}, {"times": 3, "accumulate_grad_batches": 2}])
@pytest.mark.parametrize("steps", [1, 3, 5, 11, 12, 14])
def test_another_way_of_showing_begins_after_the_last_batch_that_was_drawn(steps: int, other: dict[str, int]) -> None:
    before, state, _ = shown(steps, times=3)
    after, _, _ = shown(2, steps, state, **other)
    assert after[0] == [max(max(items) for items in before) + 1]


def test_a_state_of_before_shows_nothing_again_and_bad_ones_are_refused() -> None:
    seen, _, _ = shown(2, 7, {"step": 7, "item": 20})
    assert seen == [[20], [21]]
    with raises(UserError, "damaged"):
        shown(1, 7, {"step": 9, "item": 0})
    with pytest.raises(ValueError, match="no place"):
        shown(1, 0, {"step": 0, "item": 0, "shown": -1})
    with raises(OptionError, argument="repeats", value=0):
        SwapData(Counted(), Colours(1), 1, SIZE, "ffhq").repeated(0)


def test_once_is_a_plain_loader_that_keeps_nothing() -> None:
    seen, state, _ = shown(5, times=1)
    assert seen == [[0], [1], [2], [3], [4]]
    assert state == {"step": 5, "item": 5, "shown": 0, "repeats": 1, "per_step": 1}
    data = SwapData(Counted(), Colours(1), 1, SIZE, "ffhq")
    assert data.repeated(3).repeats == 3 and data.repeats == 1
    batch = Colours(0)[0]
    assert batch.kept is None and batch._replace(kept=Kept()).take(slice(0, 2)).kept is None


def test_a_loader_that_ends_ends() -> None:
    batches = [Colours(0)[index] for index in range(WINDOW + 1)]
    assert len(list(ShownAgain(batches, 2, WINDOW, 0))) == 2 * WINDOW + 1


class Asked(nn.Module):
    """Counts how often the part inside it is asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any) -> Any:
        self.calls += 1
        return self.inner(*args)


class Forget(pl.Callback):
    """Takes away what was kept before every step."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: SwapBatch, index: int) -> None:
        batch.kept.said = None


@pytest.fixture
def trained(make_module: Callable[..., Any], make_data: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def run(*callbacks: pl.Callback, steps: int = 11, resume: str | None = None, keep: int | None = None) -> Any:
        module = make_module(total_steps=11)
        module.supervisor.teacher = Asked(module.supervisor.teacher)
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        saved = pl.callbacks.ModelCheckpoint(path, filename="state", every_n_train_steps=keep or steps)
        trainer = quiet_trainer(path, steps, limit_val_batches=0, callbacks=[*callbacks, saved])
        trainer.fit(module, make_data().repeated(2), ckpt_path=resume, weights_only=True)
        return module, path / "state.ckpt"

    return run


def test_the_teacher_is_asked_once_and_nothing_else_changes(trained: Callable[..., Any]) -> None:
    kept, _ = trained()
    forgetful, _ = trained(Forget())
    assert kept.supervisor.teacher.calls == WINDOW + 3 and forgetful.supervisor.teacher.calls == 11
    for (name, one), other in zip(
        kept.network.state_dict().items(), forgetful.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("stop", [2, 6, 8])
def test_a_run_that_stopped_among_showings_ends_bit_equal(stop: int, trained: Callable[..., Any]) -> None:
    whole, _ = trained()
    _, state = trained(steps=stop)
    resumed, _ = trained(resume=state)
    for (name, one), other in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
