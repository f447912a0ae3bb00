"""`idn faces` as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idn.data.alignment import every_face
from tests.swap.parts import Found, face


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph with two known faces, whatever detector is built."""
    found = Found([face(20, 10, 100), face(130, 60, 50)])
    monkeypatch.setattr(every_face, "EveryFace", lambda detector, least: found)
    monkeypatch.setattr("idn.cli.verbs.faces.build", lambda config: None)
    Image.fromarray(np.full((120, 200, 3), 90, np.uint8)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_landmarks_are_printed_for_people_programs_and_command_lines(idn_cli, photo: Path) -> None:
    status, out, err = idn_cli("faces", "photo.jpg")
    assert status == 0 and out.startswith("photo.jpg: 2 faces") and len(out.splitlines()) == 3, err
    _, bare, _ = idn_cli("faces", "photo.jpg", "largest=true")
    numbers = [float(number) for number in bare.split(",")]
    _, listed, _ = idn_cli("faces", "photo.jpg", "json=true")
    (record,) = json.loads(listed)
    assert numbers == [value for point in record["faces"][0]["landmarks"] for value in point]
    assert numbers[0] == pytest.approx(20 + 100 * 193.48 / 512, abs=0.02) and record["faces"][0]["yaw"] < 3


def test_what_cannot_be_read_stops_nobody(idn_cli, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    status, out, err = idn_cli("faces", "text.png", "photo.jpg", "none.jpg")
    assert status == 2 and "photo.jpg: 2 faces" in out and "text.png" in err and "none.jpg" in err


def test_a_photograph_without_a_face_is_told_by_the_status(
    idn_cli, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_face, "EveryFace", lambda detector, least: Found([]))
    assert idn_cli("faces", "photo.jpg")[:2] == (1, "photo.jpg: 0 faces\n")
