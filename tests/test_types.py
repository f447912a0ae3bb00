"""Pairs that are moved and picked."""

import torch
from lightning_fabric.utilities import move_data_to_device

from idn.types import IdentityFeatures, Kept, SwapBatch, join_batches
from tests.raising import raises


def pairs() -> SwapBatch:
    images = torch.rand(2, 4, 3, 8, 8)
    return SwapBatch(*images, torch.rand(4, 1, 8, 8), torch.tensor([True, False, True, False]), images[0])._replace(
        targets_per_identity=2
    )


def test_pairs_move_as_a_whole_and_what_is_absent_stays_so() -> None:
    batch = pairs()._replace(kept=Kept())
    for moved in (batch.to("meta"), batch.to(torch.device("meta")), move_data_to_device(batch, torch.device("meta"))):
        assert isinstance(moved, SwapBatch)
        assert moved.targets_per_identity == 2
        assert moved.kept is batch.kept
        for name, before in list(batch._asdict().items())[:-2]:
            after = getattr(moved, name)
            assert (after is None) == (before is None), name
            assert before is None or (after.is_meta and after.shape == before.shape and after.dtype == before.dtype)


def test_pairs_are_picked_by_slice_by_number_or_alone() -> None:
    batch = pairs()
    for rows in (slice(1, 3), torch.tensor([3, 0]), 2):
        some = batch.take(rows)
        assert torch.equal(some.source, batch.source[rows]) and torch.equal(some.same, batch.same[rows])
        assert torch.equal(some.truth, batch.truth[rows]) and some.cached_answer is None
        assert some.targets_per_identity == 1
    assert batch.take(2).target.shape == (3, 8, 8)


def test_batches_are_joined_and_what_is_missing_stays_so() -> None:
    some = [pairs() for _ in range(3)]
    joined = join_batches(some)
    assert torch.equal(joined.source, torch.cat([batch.source for batch in some])) and joined.same.shape == (12,)
    assert joined.cached_answer is None and torch.equal(joined.truth[4:8], some[1].truth)
    assert joined.targets_per_identity == 2 and torch.equal(joined.sources, joined.source[::2])
    assert join_batches([some[0], some[1]._replace(targets_per_identity=4)]).targets_per_identity == 1


def test_rows_with_a_known_truth_are_told_apart_alone_and_joined() -> None:
    batch, some = pairs(), torch.tensor([True, False, False, True])
    assert batch.exact.tolist() == [True] * 4 and batch._replace(truth=None).exact.tolist() == [False] * 4
    partly = batch._replace(truth_known=some, source_is_photograph=~some)
    assert torch.equal(partly.exact, some) and partly.take(slice(1, 4)).exact.tolist() == [False, False, True]
    assert join_batches([batch, partly]).truth_known.tolist() == [True] * 4 + some.tolist()
    assert join_batches([batch, batch]).truth_known is None


def test_faces_are_repeated_in_rows_for_their_targets() -> None:
    maps = torch.rand(2, 4, 3, 3)
    faces = IdentityFeatures(torch.rand(2, 5), maps, (maps[:, :1],), torch.rand(2))
    each = faces.for_targets(torch.empty(6))
    for before, after in zip(
        (faces.embedding, maps, faces.shallow[0], faces.length),
        (each.embedding, each.features, each.shallow[0], each.length),
        strict=True,
    ):
        assert torch.equal(after, before[torch.tensor([0, 0, 0, 1, 1, 1])])
    assert faces.for_targets(torch.empty(2)).features is maps
    assert IdentityFeatures(faces.embedding[:1], None).for_targets(torch.empty(3)).embedding.shape == (3, 5)
    with raises(ValueError, "5 targets", "2 identities"):
        faces.for_targets(torch.empty(5))
