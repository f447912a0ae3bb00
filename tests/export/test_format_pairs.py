"""Every pair of formats, one after the other in one export of a student of photographs: none takes another one down."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.errors import UserError
from idn.export.converters.environment import CONVERTERS, interpreter
from idn.export.formats import FORMATS, format_named
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.types import EncoderDescription

FAST = ("onnx", "pt2")
"""Two that work in this process, and are more than a copy of the weights."""


def installed(name: str) -> bool:
    try:
        format_named(name)
        if name in CONVERTERS:
            interpreter(name)
    except UserError:
        return False
    return True


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An export of one person, with the loader's ordinary number of workers: a DataLoader's handler of signals."""
    torch.manual_seed(0)
    student = Student(EncoderDescription(128, 512, 7, "MobileFaceNet procedural_mobilefacenet"), 0.25)
    save_student(student, tmp_path / "student.safetensors", {"template": "ffhq", "size": "64"})
    draw = np.random.default_rng(0)
    for person in range(24):
        for number in range(2):
            path = tmp_path / f"crops/p{person}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    data = ["data=faces", "data.root=crops", "data.stored_template=ffhq", "data.holdout=0.4"]
    encoder = ["encoder.photographs=true"]
    person = ["source=crops/p0/0.png", "aligned=true", "crops=2", "floor.fp32=40"]
    return ["weights=student.safetensors", *data, *encoder, *person]


def check(idn_cli, words: list[str], folder: Path, pair: tuple[str, str]) -> None:
    status, _, err = idn_cli("export", *words, "out=out", f"format=[{','.join(pair)}]")
    assert status == 0, err
    card = json.loads((folder / "out/card.json").read_text())
    assert {file["format"] for file in card["files"]} == set(pair)
    assert not [path for path in (folder / "out").iterdir() if path.name.startswith(".")]


def test_a_pair_that_shares_a_process(words: list[str], idn_cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    check(idn_cli, words, tmp_path, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in permutations(FORMATS, 2) if pair != FAST], ids="-".join)
def test_all_other_pairs(pair: tuple[str, str], words: list[str], idn_cli, tmp_path: Path) -> None:
    if missing := [name for name in pair if not installed(name)]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    check(idn_cli, words, tmp_path, pair)
