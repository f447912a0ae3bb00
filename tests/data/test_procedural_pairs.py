import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from idn.data.loaders import Endless, targets_that_fit
from idn.data.procedural import FaceRenderer, ProceduralIdentities, ProceduralSwaps, verification_pairs
from idn.errors import OptionError
from tests.raising import raises

SIZE = 32


@pytest.fixture(scope="module")
def faces() -> FaceRenderer:
    return FaceRenderer()


def assert_equal(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> None:
    pairs = zip(first, second, strict=True)
    assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def test_swaps_are_a_pure_function_of_seed_and_item(faces: FaceRenderer) -> None:
    data, twin = ProceduralSwaps(faces, SIZE, 4, seed=3), ProceduralSwaps(FaceRenderer(), SIZE, 4, seed=3)
    data[0]
    assert_equal(data[5], twin[5])
    assert not torch.equal(data[5].source, data[6].source)
    assert not torch.equal(data[5].source, ProceduralSwaps(faces, SIZE, 4, seed=4)[5].source)


def test_swaps_fill_every_field(faces: FaceRenderer) -> None:
    batch = ProceduralSwaps(faces, SIZE, 5, seed=0)[0]
    kept = {"cached_answer", "cached_cosine", "cached_quality"}  # only a teacher's cache knows these
    edited = {"truth_known", "source_is_photograph"}  # all swaps are known, and no picture is an edited one
    shown = {"kept"}  # only a batch that is shown again
    assert {name for name, field in batch._asdict().items() if field is None} == kept | edited | shown
    assert all(len(field) == 5 for field in batch if isinstance(field, Tensor))
    assert batch.source.shape == batch.target.shape == batch.truth.shape == (5, 3, SIZE, SIZE)
    assert batch.face.shape == (5, 1, SIZE, SIZE) and batch.same.dtype == torch.bool
    assert batch.source_identity.shape == (5, faces.identity_dim)
    assert batch.target_attributes.shape == (5, faces.attribute_dim)


def test_the_truth_is_the_source_person_in_the_target_situation(faces: FaceRenderer) -> None:
    batch = ProceduralSwaps(faces, SIZE, 6, seed=1, same_ratio=0.5)[2]
    exact = faces.render(batch.source_identity, batch.target_attributes, SIZE)
    torch.testing.assert_close(batch.truth, exact.image)
    torch.testing.assert_close(batch.landmarks, exact.landmarks)
    assert (batch.face >= exact.face).all()
    others = faces.render(batch.source_identity.roll(-1, 0), batch.target_attributes, SIZE)
    expected = torch.where(batch.same.view(-1, 1, 1, 1), exact.image, others.image)
    torch.testing.assert_close(batch.target, expected)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_same_person_samples_have_their_target_as_truth(faces: FaceRenderer, ratio: float) -> None:
    batch = ProceduralSwaps(faces, SIZE, 4, seed=2, same_ratio=ratio)[0]
    equal = [torch.equal(a, b) for a, b in zip(batch.target, batch.truth, strict=True)]
    assert batch.same.tolist() == equal == [ratio == 1.0] * 4


def test_same_ratio_is_respected(faces: FaceRenderer) -> None:
    data = ProceduralSwaps(faces, 16, 50, seed=9, same_ratio=0.3)
    share = torch.cat([data[i].same for i in range(8)]).float().mean().item()
    assert abs(share - 0.3) < 0.08


def test_several_targets_have_one_source_and_each_its_exact_swap(faces: FaceRenderer) -> None:
    one, batch = (ProceduralSwaps(faces, SIZE, 6, 1, 0.5, targets)[2] for targets in (1, 3))
    assert batch.targets_per_identity == 3 and one.targets_per_identity == 1
    assert torch.equal(batch.sources, one.source[::3])
    for rows in (slice(3), slice(3, 6)):
        assert (batch.source[rows] == batch.source[rows][:1]).all()
    assert torch.equal(batch.target_attributes, one.target_attributes) and torch.equal(batch.same, one.same)
    exact = faces.render(batch.source_identity, batch.target_attributes, SIZE)
    torch.testing.assert_close(batch.truth, exact.image)
    assert (batch.face >= exact.face).all()
    different = ~batch.same
    assert torch.equal(batch.target[different], one.target[different]) and 0 < different.sum() < 6
    assert torch.equal(batch.target[batch.same], batch.truth[batch.same])
    assert (batch.source - batch.target).abs().amax((1, 2, 3)).min() > 0.1  # no picture is paired with itself


@pytest.mark.parametrize("targets", [0, 4, 6, 12, 1.5])
def test_targets_that_do_not_divide_a_batch_are_refused(faces: FaceRenderer, targets: object) -> None:
    with pytest.raises(OptionError) as error:
        ProceduralSwaps(faces, SIZE, 6, seed=0, targets_per_identity=targets)
    assert (error.value.argument, error.value.value) == ("targets_per_identity", targets)


def test_swaps_refuse_what_cannot_work(faces: FaceRenderer) -> None:
    with raises(OptionError, argument="batch", value=1):
        ProceduralSwaps(faces, SIZE, 1, seed=0)
    with raises(OptionError, argument="same_ratio"):
        ProceduralSwaps(faces, SIZE, 2, seed=0, same_ratio=1.5)
    with raises(OptionError, argument="batch", value=None):
        ProceduralSwaps(faces, SIZE, None, seed=0)


@pytest.mark.parametrize("kind", ["swaps", "identities"])
def test_the_stream_has_a_beginning_and_no_end(faces: FaceRenderer, kind: str) -> None:
    swaps, identities = ProceduralSwaps(faces, SIZE, 2, seed=0), ProceduralIdentities(faces, SIZE, 2, 5, seed=0)
    data = swaps if kind == "swaps" else identities
    late = data[1_000_000], data[10**12]
    assert not torch.equal(late[0][0], late[1][0])
    with raises(IndexError, "-1"):
        data[-1]


def test_identities_show_the_people_of_the_bank(faces: FaceRenderer) -> None:
    data = ProceduralIdentities(faces, SIZE, 6, identities=9, seed=4, images_per_identity_in_batch=3)
    images, labels = data[7]
    assert images.shape == (6, 3, SIZE, SIZE) and labels.dtype == torch.int64
    assert labels.view(2, 3).unique(dim=1).shape == (2, 1) and labels.unique().numel() == 2
    assert labels.min() >= 0 and labels.max() < 9
    assert_equal(data[7], ProceduralIdentities(faces, SIZE, 6, identities=9, seed=4, images_per_identity_in_batch=3)[7])
    assert not torch.equal(images[0], images[1])
    assert torch.equal(data.bank[:5], ProceduralIdentities(faces, SIZE, 6, identities=9, seed=4).bank[:5])


def test_identities_refuse_what_cannot_work(faces: FaceRenderer) -> None:
    with raises(OptionError, argument="batch", value=5):
        ProceduralIdentities(faces, SIZE, 5, identities=9, seed=4)
    with raises(OptionError, argument="batch", value=8):
        ProceduralIdentities(faces, SIZE, 8, identities=3, seed=4)


def test_verification_pairs_are_half_same(faces: FaceRenderer) -> None:
    parts = list(verification_pairs(faces, SIZE, pairs=21, seed=6, chunk=8))
    assert [len(part[2]) for part in parts] == [8, 8, 5]
    a, b, same = (torch.cat(column) for column in zip(*parts, strict=True))
    assert a.shape == b.shape == (21, 3, SIZE, SIZE) and same.sum() == 11
    again = next(iter(verification_pairs(faces, SIZE, pairs=8, seed=6, chunk=8)))
    assert_equal(again, parts[0])
    other = next(iter(verification_pairs(faces, SIZE, pairs=8, seed=7, chunk=8)))
    assert not torch.equal(other[0], parts[0][0])


def test_triplets_are_the_same_pairs_of_which_some_hide_their_swap(faces: FaceRenderer) -> None:
    data = ProceduralSwaps(faces, SIZE, 8, 3, truth_share=0.5)
    whole = ProceduralSwaps(faces, SIZE, 8, 3)
    some = torch.cat([data[item].truth_known for item in range(6)])
    assert 12 < some.sum() < 36 and torch.equal(data[2].truth_known, some[16:24])
    batch, known = data[2], data[2].truth_known
    assert torch.equal(batch.exact, known) and torch.equal(batch.truth[known], whole[2].truth[known])
    assert torch.equal(batch.truth[~known], batch.target[~known])
    same = [name for name in batch._fields if name not in ("truth", "truth_known")]
    assert_equal([getattr(batch, name) for name in same], [getattr(whole[2], name) for name in same])
    assert not ProceduralSwaps(faces, SIZE, 8, 3, truth_share=0.0)[0].exact.any()
    with raises(OptionError, argument="truth_share", value=1.5):
        ProceduralSwaps(faces, SIZE, 8, 3, truth_share=1.5)


def test_no_epoch_repeats_the_order_of_another() -> None:
    """As the published training does, whose sampler of several processes is never told which epoch it is."""
    published = DistributedSampler(range(100), num_replicas=2, rank=0)
    assert list(published) == list(published)
    shares = [list(itertools.islice(Endless(rank, 2), 150)) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(300)), "every item once, and none of them again"


@pytest.mark.parametrize(("batch", "targets"), [(32, 4), (16, 4), (8, 2), (12, 2), (4, 1), (2, 1), (18, 2), (15, 1)])
def test_without_a_number_four_sources_are_left_to_a_batch(batch: int, targets: int) -> None:
    assert targets_that_fit(None, batch) == targets and targets_that_fit(3, batch) == 3
