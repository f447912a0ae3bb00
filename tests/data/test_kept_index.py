import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data import folder_scan, kept_index
from idn.data.alignment.manifest import ManifestWriter, Record, Settings
from idn.data.kept_index import open_index
from idn.data.packed import PackedNames, Runs

POINTS = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]


@pytest.fixture
def crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder large enough for its index to be kept, at rest: 4 people with 3 photographs, one of them a copy."""
    monkeypatch.setattr(kept_index, "MANY", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "crops"
    for person in ("a", "a-b", "c", "d"):
        for number in range(3):
            path = root / person / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (len(person), ord(person[0]), number)).save(path)
    (root / "d/2.png").write_bytes((root / "c/2.png").read_bytes())
    with ManifestWriter(root, Settings("/photos", "ffhq", 16, 48, "png", 95)) as manifest:
        manifest.append(Record("c/1.png", "ok", crop="c/1.png", landmarks=POINTS))
    rest(root)
    return root


def rest(root: Path) -> None:
    """As if nothing had been changed for an hour."""
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.utime(path, ns=(0, time.time_ns() - 3600 * 10**9))


def test_a_later_run_takes_the_kept_index_and_looks_at_no_picture(
    crops: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = open_index(crops)
    assert "the next run does not look through it" in capsys.readouterr().err
    monkeypatch.setattr(folder_scan, "list_photos", lambda root: pytest.fail("walked through the folder"))
    again = open_index(crops)
    assert "11 pictures by" in capsys.readouterr().err
    for index in (first, again, pickle.loads(pickle.dumps(again))):
        assert index.names[:4] == ["a-b/0.png", "a-b/1.png", "a-b/2.png", "a/0.png"] and len(index.names) == 11
        people = index.people(flat=False)
        assert list(people) == ["a", "a-b", "c", "d"] and people["a"] == range(3, 6) and "b" not in people
        assert index.facts.known == 1 and index.facts.left_out == {"copied": 1} and index.facts.digest
        number = list(index.names).index("c/1.png")
        torch.testing.assert_close(index.landmarks[number], torch.tensor(POINTS))
        assert index.landmarks.isnan().any((1, 2)).sum() == 10
    assert first.facts == again.facts


@pytest.mark.parametrize("change", ["new", "gone", "renamed", "manifest", "folder"])
def test_a_changed_folder_is_looked_through_again(crops: Path, change: str) -> None:
    before = open_index(crops)
    if change == "new":
        Image.new("RGB", (16, 16), (9, 9, 9)).save(crops / "a/new.png")
    elif change == "gone":
        (crops / "a/0.png").unlink()
    elif change == "renamed":
        (crops / "a/0.png").rename(crops / "a/9.png")
    elif change == "folder":
        (crops / "c").rename(crops / "e")
    else:
        with ManifestWriter(crops, Settings("/photos", "ffhq", 16, 48, "png", 95)) as manifest:
            manifest.append(Record("c/2.png", "ok", crop="c/2.png", landmarks=POINTS))
    after = open_index(crops)
    assert after.facts.digest != before.facts.digest
    assert len(after.names) == 11 + {"new": 1, "gone": -1}.get(change, 0)
    assert after.path is None  # changed a moment ago: the next change might show the same time
    rest(crops)
    assert open_index(crops).path is not None


def test_the_index_of_a_folder_that_cannot_be_written_is_kept_for_the_user(crops: Path, tmp_path: Path) -> None:
    (crops / ".crops").write_text("a file where the folder should be")
    rest(crops)
    assert open_index(crops).path.is_relative_to(tmp_path / "cache")
    assert open_index(crops).path.is_relative_to(tmp_path / "cache")


def test_a_damaged_index_is_made_again(crops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = open_index(crops).path
    path.write_bytes(path.read_bytes()[:-50])
    assert len(open_index(crops).names) == 11
    assert "is passed over" in capsys.readouterr().err


def test_runs_and_names_are_lists_of_their_members() -> None:
    names = ["", "ä/x", os.fsdecode(b"caf\xe9"), "z"]
    packed = PackedNames.pack(names)
    assert list(packed) == names and packed[-1] == "z" and packed[1:3] == names[1:3] and packed.index("z") == 3
    with pytest.raises(IndexError):
        packed[4]
    runs = Runs(np.array([4, 0, 9]), np.array([6, 1, 12]))
    assert list(runs) == [range(4, 6), range(1), range(9, 12)] and list(runs[1:]) == [range(1), range(9, 12)]
    assert [tuple(m) for m in runs.members()] == [(4, 0), (5, 0), (0, 1), (9, 2), (10, 2), (11, 2)]
    assert list(runs.places()) == [range(2), range(2, 3), range(3, 6)] and len(runs.members()) == runs.total() == 6
    with pytest.raises(IndexError):
        runs.members()[6]
