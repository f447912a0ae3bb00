"""Which face gets which source."""

import pytest
import torch

from idn.errors import OptionError
from idn.swap.choose import assign, make_choice
from tests.raising import raises
from tests.swap.parts import face

FACES = [face(300, 0, 50), face(0, 0, 90), face(150, 0, 70)]


@pytest.mark.parametrize(
    ("faces", "sources", "expected"),
    [
        ("largest", 1, {1: 0}),
        ("largest", 2, {1: 0, 2: 1}),
        ("all", 1, {0: 0, 1: 0, 2: 0}),
        ("left_to_right", 2, {1: 0, 2: 1}),
        ("left_to_right", 5, {1: 0, 2: 1, 0: 2}),
        (2, 1, {0: 0}),
        ([2, 0], 1, {0: 0, 1: 0}),
        ([2, 0], 2, {0: 0, 1: 1}),
        (7, 1, {}),
    ],
)
def test_by_place_and_size(faces: object, sources: int, expected: dict[int, int]) -> None:
    assert assign(make_choice(faces, sources), sources, FACES) == expected
    assert assign(make_choice(faces, sources), sources, []) == {}


def test_like_a_person_each_face_and_each_source_once() -> None:
    people = torch.eye(3)[:2]
    seen = torch.nn.functional.normalize(torch.tensor([[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.8]]))
    assert assign(make_choice("largest", 2, people, 0.4), 2, FACES, seen) == {1: 0, 2: 1}
    assert assign(make_choice("largest", 2, people, 0.6), 2, FACES, seen) == {1: 0}
    assert assign(make_choice("largest", 2, people), 2, [], None) == {}


@pytest.mark.parametrize("faces", ["biggest", -1, [], [0, 0], [0, True], 1.5, None])
def test_odd_choices_are_refused(faces: object) -> None:
    with raises(OptionError, argument="faces"):
        make_choice(faces, 1)


def test_choices_that_do_not_fit_the_sources_are_refused() -> None:
    with raises(OptionError, argument="faces"):
        make_choice("all", 2)
    with raises(OptionError, argument="faces"):
        make_choice([1, 2, 3], 2)
    with raises(OptionError, argument="like"):
        make_choice("largest", 2, torch.eye(3)[:1])
    with raises(OptionError, argument="threshold"):
        make_choice("largest", 1, torch.eye(1), 2.0)
