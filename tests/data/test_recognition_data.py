"""Data for recognisers: every photograph once per round, pairs of held-out people, endless procedural people."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from idn.data.procedural import FaceRenderer
from idn.data.recognition import folder_identities, procedural_identities
from idn.errors import UserError


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


def folder(root: Path, **options: object):
    given = {"size": 32, "frame": "ffhq", "stored_frame": "ffhq", "batch": 4, "holdout": 0.4, "pairs": 10, "seed": 0}
    return folder_identities(str(root), **(given | {"workers": 0, "cache": False, "augment": None} | options))


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


def test_procedural_people_bring_their_coordinates() -> None:
    data = procedural_identities(FaceRenderer(), 32, "ffhq", 4, 6, 20, 0, 0)
    images, labels = data.train[0]
    assert images.shape == (4, 3, 32, 32) and labels.max() < data.classes == len(data.people) == 6
    assert sum(len(chunk[2]) for chunk in data.val.chunks) == 20
    with pytest.raises(UserError, match="framed as ffhq"):
        procedural_identities(FaceRenderer(), 32, "mtcnn", 4, 6, 20, 0, 0)
