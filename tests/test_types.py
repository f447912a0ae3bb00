"""Pairs that are moved and picked."""

import torch
from lightning_fabric.utilities import move_data_to_device

from idn.types import SwapBatch


def pairs() -> SwapBatch:
    images = torch.rand(2, 4, 3, 8, 8)
    return SwapBatch(*images, torch.rand(4, 1, 8, 8), torch.tensor([True, False, True, False]), images[0])


def test_pairs_move_as_a_whole_and_what_is_absent_stays_so() -> None:
    batch = pairs()
    for moved in (batch.to("meta"), batch.to(torch.device("meta")), move_data_to_device(batch, torch.device("meta"))):
        assert isinstance(moved, SwapBatch)
        for name, before in batch._asdict().items():
            after = getattr(moved, name)
            assert (after is None) == (before is None), name
            assert before is None or (after.is_meta and after.shape == before.shape and after.dtype == before.dtype)


def test_pairs_are_picked_by_slice_by_number_or_alone() -> None:
    batch = pairs()
    for rows in (slice(1, 3), torch.tensor([3, 0]), 2):
        some = batch.take(rows)
        assert torch.equal(some.source, batch.source[rows]) and torch.equal(some.same, batch.same[rows])
        assert torch.equal(some.truth, batch.truth[rows]) and some.cached_answer is None
    assert batch.take(2).target.shape == (3, 8, 8)
