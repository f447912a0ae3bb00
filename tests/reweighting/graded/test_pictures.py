"""Collected pictures: which, how many, with which labels and errors, and how they are dealt out."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch

from idn.data.loaders import SwapData
from idn.errors import OptionError, UserError
from idn.metrics.images import ssim
from idn.reweighting.graded.pictures import GradedPictures, GradedSwaps, Grades, collect
from idn.types import SwapBatch, join_batches
from tests.raising import raises

SIZE = 32


class Fading:
    """Answers with the exact swap, darkened in two degrees."""

    levels = 2

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def make(self, pairs: Iterable[SwapBatch], part: str) -> Iterator[GradedSwaps]:
        for label in (0.5, 1.0):
            for number, batch in enumerate(pairs):
                yield GradedSwaps(number, batch, batch.truth * label * self.factor, label)


def test_every_pair_is_shown_in_every_quality(tmp_path: Path, make_data) -> None:
    data = make_data()
    rated = collect(Fading(), data, "train", 6, 4, tmp_path)
    pairs = [data.train[0], data.train[1]]  # 6 pairs are completed to two batches of 4
    truth, face = (torch.cat([getattr(batch, name) for batch in pairs]) for name in ("truth", "face"))
    whole = [rated[k] for k in range(len(rated))]
    images = torch.cat([one.images for one in whole])
    labels, grades, errors, differences, numbers = map(torch.cat, zip(*(one.known for one in whole), strict=True))
    assert labels.tolist() == grades.tolist() == [0.5] * 8 + [1.0] * 8
    assert numbers.tolist() == [*range(8), *range(8)]
    expected = 1 - ssim(images, torch.cat([truth, truth]), torch.cat([face, face]))
    torch.testing.assert_close(differences, expected)
    torch.testing.assert_close(images, torch.cat([truth * 0.5, truth]), atol=0.5 / 255 + 1e-6, rtol=0)
    inside = ((truth * 0.5 - truth).abs().mean(1) * face[:, 0]).sum((1, 2)) / face.sum((1, 2, 3))
    torch.testing.assert_close(errors, torch.cat([inside, torch.zeros(8)]), atol=0.5 / 255 + 1e-6, rtol=0)
    assert list(tmp_path.iterdir()) == [], "the pictures leave no file behind"


def test_held_out_pictures_show_other_pairs(tmp_path: Path, make_data) -> None:
    train = collect(Fading(), make_data(), "train", 4, 4, tmp_path)[0].images
    val = collect(Fading(), make_data(), "val", 4, 4, tmp_path)[0].images
    assert not torch.allclose(train, val, atol=0.02)


def test_collecting_twice_gives_the_same(tmp_path: Path, make_data) -> None:
    first, second = (collect(Fading(), make_data(), "train", 8, 4, tmp_path, seed=3) for _ in range(2))
    for index in (0, 5):
        one, other = first[index], second[index]
        assert all(
            torch.equal(a, b) for a, b in zip((one.images, *one.known), (other.images, *other.known), strict=True)
        )


def test_errors_are_infinite_where_nobody_knows_the_truth(tmp_path: Path, make_data) -> None:
    class Blind(Fading):
        def make(self, pairs: Iterable[SwapBatch], part: str) -> Iterator[GradedSwaps]:
            for made in super().make(pairs, part):
                yield made._replace(batch=made.batch._replace(truth=None))

    known = collect(Blind(), make_data(), "val", 4, 4, tmp_path)[0].known
    assert known.errors.isinf().all() and known.differences.isinf().all()


def test_pictures_may_have_labels_of_their_own(tmp_path: Path, make_data) -> None:
    class Own(Fading):
        def make(self, pairs: Iterable[SwapBatch], part: str) -> Iterator[GradedSwaps]:
            for made in super().make(pairs, part):
                yield made._replace(labels=torch.arange(4) / 4)

    known = collect(Own(), make_data(), "val", 4, 4, tmp_path)[0].known
    assert known.labels.tolist() == [0, 0.25, 0.5, 0.75] and known.grades.tolist() == [0.5] * 4


def test_samples_are_joined_into_batches(tmp_path: Path, make_data) -> None:
    class Samples(torch.utils.data.Dataset):
        def __getitem__(self, index: int) -> SwapBatch:
            batch = make_data().train[index // 4]
            return batch.take(slice(index % 4, index % 4 + 1))

    data = SwapData(Samples(), Samples(), 2, SIZE, "ffhq", batch_size=4, collate=join_batches)
    one, other = (collect(Fading(), d, "train", 8, 16, tmp_path)[0].images for d in (data, make_data()))
    assert torch.equal(one, other)


def test_wrong_wishes_and_wrong_teachers_get_a_sentence(tmp_path: Path, make_data) -> None:
    with raises(OptionError, argument="val_pairs", value=0):
        collect(Fading(), make_data(), "val", 0, 4, tmp_path)
    with raises(OptionError, argument="batch", value=1):
        collect(Fading(), make_data(), "val", 4, 1, tmp_path)
    with raises(UserError):
        collect(Fading(float("nan")), make_data(), "val", 4, 4, tmp_path)
    assert list(tmp_path.iterdir()) == []


def numbered(tmp_path: Path, count: int, batch: int, seed: int | None) -> GradedPictures:
    """Pictures that are their number, with a bright left half."""
    pictures = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, SIZE, SIZE)
    pictures[..., : SIZE // 2] += 100
    (tmp_path / "raw").write_bytes(pictures.numpy().tobytes())
    number = torch.arange(count)
    known = Grades(number / count, number / 5, number / 7, number / 9, number // 2)
    return GradedPictures(tmp_path / "raw", SIZE, known, batch, seed)


def test_a_pass_shows_every_picture_once_in_ever_new_order(tmp_path: Path) -> None:
    rated = numbered(tmp_path, 12, 4, seed=0)
    passes = [torch.cat([rated[3 * turn + k].known.labels for k in range(3)]) for turn in range(3)]
    assert all(torch.equal(one.sort().values, torch.arange(12) / 12) for one in passes)
    assert not torch.equal(passes[0], passes[1])
    labels, grades, errors, differences, pairs = rated[7].known
    for others, count in ((grades, 5), (errors, 7), (differences, 9)):
        torch.testing.assert_close(labels * 12, others * count)
    assert torch.equal((errors * 7).round().long() // 2, pairs)


def test_pictures_keep_their_labels_and_half_are_flipped(tmp_path: Path) -> None:
    rated = numbered(tmp_path, 40, 40, seed=1)
    batch = rated[2]
    dark = batch.images.amin((1, 2, 3)) * 255
    torch.testing.assert_close(dark, batch.known.labels * 40)
    flipped = (batch.images[:, 0, 0, 0] < batch.images[:, 0, 0, -1]).float().mean()
    assert 0.2 < flipped < 0.8
    assert not (numbered(tmp_path, 40, 40, seed=None)[0].images[:, 0, 0, 0] * 255 < 100).any()


def test_unshuffled_pictures_end_with_the_rest(tmp_path: Path) -> None:
    rated = numbered(tmp_path, 10, 4, seed=None)
    assert len(rated) == 3 and [len(rated[k].images) for k in range(3)] == [4, 4, 2]
    assert len(numbered(tmp_path, 3, 4, seed=0)[0].images) == 3, "fewer pictures than a batch make a small one"
    with pytest.raises(IndexError):
        rated[-1]
