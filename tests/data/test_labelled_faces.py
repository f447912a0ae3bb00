"""Data for recognisers: every photograph once per round, pairs of held-out people, endless procedural people."""

import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.augment import Augment
from idn.data.labelled_faces import RecognitionData, folder_identities, procedural_identities
from idn.data.loaders import procedural_data
from idn.data.photo_pairs import faces_data
from idn.data.procedural import FaceRenderer
from idn.errors import OptionError
from tests.raising import raises


@pytest.fixture
def people(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for person in range(12):
        for photo in range(3):
            pixels = torch.randint(0, 256, (40, 40, 3), generator=generator, dtype=torch.uint8)
            path = tmp_path / f"p{person:02d}" / f"{photo}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.numpy()).save(path)
    return tmp_path


def folder(people: Path, **options: object) -> RecognitionData:
    given = {
        "root": str(people),
        "size": 32,
        "template": "ffhq",
        "stored_template": "ffhq",
        "batch": 4,
        "holdout": 0.4,
        "pairs": 10,
        "seed": 0,
    }
    return folder_identities(**(given | {"workers": 0, "cache": False, "augment": None} | options))


def test_a_round_shows_every_photograph_once_and_rounds_differ(people: Path) -> None:
    data = folder(people)
    n = len(data.train.people)
    rounds = [[data.train.people.items[data.train.order(turn)[k]][0] for k in range(n)] for turn in (0, 1)]
    assert sorted(rounds[0]) == sorted(rounds[1]) and rounds[0] != rounds[1]
    image, label = data.train[n + 3]
    assert image.shape == (3, 32, 32) and 0 <= label < data.classes


def test_pairs_show_people_that_training_never_sees(people: Path) -> None:
    data = folder(people)
    train = {data.train.people.folder.names[index].split("/")[0] for index, _ in data.train.people.items}
    held = {data.val.people.folder.names[index].split("/")[0] for index, _ in data.val.people.items}
    assert not train & held and data.classes == len(train)
    a, b, same = data.val[0]
    assert a.shape == b.shape == (3, 32, 32) and same.dtype == torch.bool
    assert [bool(data.val[k][2]) for k in range(4)] == [True, False, True, False]


def test_the_rarer_kind_of_pairs_is_counted(people: Path) -> None:
    data = folder(people, pairs=7)
    same = [bool(data.val[item][2]) for item in range(len(data.val))]
    assert data.least_pairs == min(sum(same), len(same) - sum(same)) == 3


def test_procedural_people_bring_their_coordinates() -> None:
    data = procedural_identities(FaceRenderer(), 32, "ffhq", 4, 6, 20, 0, 0)
    images, labels = data.train[0]
    assert images.shape == (4, 3, 32, 32) and labels.max() < data.classes == len(data.people) == 6
    assert sum(len(chunk[2]) for chunk in data.val.chunks) == 20
    with raises(OptionError, argument="template", value="mtcnn"):
        procedural_identities(FaceRenderer(), 32, "mtcnn", 4, 6, 20, 0, 0)


def test_photographs_are_asked_for_where_procedural_faces_have_another_framing() -> None:
    with pytest.raises(OptionError) as refused:
        procedural_data(FaceRenderer(), 32, "arcface_112_v2", 4, 0.2, 2, 0, 0)
    assert refused.value.argument == "template"
    assert refused.value.wanted == (
        "does not fit procedural faces, which are aligned to ffhq: take that, or photographs, which come in any"
    )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("template", "dlib"),
        ("stored_template", "dlib"),
        ("holdout", 1.5),
        ("holdout", 0),
        ("size", 8),
        ("batch", 1),
        ("pairs", 0),
        ("seed", 1.5),
        ("workers", -1),
        ("root", "nowhere"),
    ],
)
def test_an_impossible_argument_is_named(people: Path, argument: str, value: object) -> None:
    with raises(OptionError, argument=argument, value=value):
        folder(people, **{argument: value})


def test_a_loose_picture_belongs_to_nobody(people: Path) -> None:
    Image.new("RGB", (40, 40)).save(people / "loose.png")
    with raises(OptionError, argument="root", value=people):
        folder(people)


DATA = ["photographs", "people", "procedural", "procedural people"]


def parts(name: str, root: Path) -> tuple[Dataset, Dataset]:
    """What a loader process may be sent: the training and the validation part of some data."""
    if name == "photographs":
        data = faces_data(
            str(root), 32, "arcface_112_v2", 4, 0, "ffhq", holdout=0.4, workers=0, cache=True, augment=Augment()
        )
    elif name == "people":
        data = folder(root, augment=Augment())
    elif name == "procedural":
        data = procedural_data(FaceRenderer(), 32, "ffhq", 2, 0.2, 2, 0, 0)
    else:
        data = procedural_identities(FaceRenderer(), 32, "ffhq", 4, 6, 20, 0, 0)
    return data.train, data.val


def same(a: tuple, b: tuple) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("name", DATA)
def test_every_data_set_can_be_sent_to_another_process(people: Path, name: str) -> None:
    for data in parts(name, people):
        fresh = pickle.loads(pickle.dumps(data))
        item = data[0]
        used = pickle.loads(pickle.dumps(data))
        assert same(item, fresh[0]) and same(item, used[0])


def test_a_round_does_not_depend_on_what_was_asked_for_before(people: Path) -> None:
    a, b = folder(people).train, folder(people).train
    n = len(a.people)
    forth = [a[index][1] for index in (0, n, n + 1, 2 * n)]
    assert forth == [b[index][1] for index in (2 * n, n + 1, n, 0)][::-1]
