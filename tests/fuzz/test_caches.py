"""Mutated caches of answers and manifests of crops: read, mended by writing again, or refused in one sentence."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idn.data.alignment.manifest import read_manifest
from idn.data.photo_folder import FaceFolder
from idn.errors import UserError
from teachers.cached import CachedTeacher
from tests.fuzz.damage import altered, damaged, rewrite_json

Make = Callable[..., Any]


def attempt(work: Callable[[], object]) -> str:
    """Whether it could be done or was refused. Anything but one sentence about it is an error."""
    try:
        work()
    except UserError as error:
        said = str(error)
        assert said and len(said.splitlines()) == 1 and "Traceback" not in said, said
        return "refused"
    return "done"


def injure(draw: random.Random, folder: Path) -> None:
    """Change one file of a cache, or lose it."""
    path = draw.choice([folder / "cache.json"] * 3 + sorted(folder.glob("*.safetensors")))
    if path.suffix == ".json" and draw.random() < 0.8:
        rewrite_json(draw, path)
    elif draw.random() < 0.1:
        path.unlink()
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))


@pytest.fixture
def whole(tmp_path: Path, make_cache: Make) -> Path:
    make_cache(tmp_path / "whole")
    return tmp_path / "whole"


def try_caches(draw: random.Random, whole: Path, make_module: Make, make_data: Make, count: int) -> None:
    encoder, outcomes = make_module().encoder, []
    for number in range(count):
        folder = whole.parent / str(number)
        shutil.copytree(whole, folder)
        injure(draw, folder)

        def train(folder: Path = folder) -> None:
            data = CachedTeacher(folder, verify=draw.random() < 0.5).attach(make_data(), encoder)
            for pairs in (data.train, data.val):
                for index in range(len(pairs)):
                    assert pairs[index].cached_answer.shape == (4, 3, 32, 32)

        outcomes.append(attempt(train))
        shutil.rmtree(folder)
    assert "refused" in outcomes


def test_training_from_a_mutated_cache_works_or_is_refused(
    draw: random.Random, canary: Path, whole: Path, make_module: Make, make_data: Make
) -> None:
    try_caches(draw, whole, make_module, make_data, 150)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(5))
def test_many_mutated_caches(
    turn: int, draw: random.Random, canary: Path, whole: Path, make_module: Make, make_data: Make
) -> None:
    try_caches(draw, whole, make_module, make_data, 400)


def test_writing_into_a_mutated_cache_mends_it_or_is_refused_and_loses_no_whole_shard(
    draw: random.Random, canary: Path, whole: Path, make_cache: Make
) -> None:
    content = {path.name: path.read_bytes() for path in whole.iterdir()}
    for number in range(15):
        folder = whole.parent / str(number)
        shutil.copytree(whole, folder)
        injure(draw, folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        if attempt(lambda folder=folder: make_cache(folder)) == "refused":
            assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        else:
            assert {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} == {
                name: value for name, value in content.items() if name.endswith(".safetensors")
            }


SETTINGS = {"source": "/photographs", "template": "ffhq", "size": 48}
CROP = {
    "photo": "a/0.png",
    "status": "ok",
    "crop": "a/0.png",
    "landmarks": [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]],
    "score": 0.9,
    "box": [1.0, 2.0, 30.0, 40.0],
    "face_px": 29.0,
    "inside": 1.0,
    "faces": 1,
}


@pytest.mark.parametrize("turn", range(2))
def test_a_mutated_manifest_of_crops_is_read_or_refused(
    turn: int, draw: random.Random, canary: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (48, 48)).save(tmp_path / "a/0.png")
    for _ in range(120):
        lines = [altered(draw, SETTINGS), *(altered(draw, CROP) for _ in range(draw.randrange(4)))]
        content = "\n".join(map(json.dumps, lines)).encode() + b"\n"
        (tmp_path / "manifest.jsonl").write_bytes(damaged(draw, content) if draw.random() < 0.5 else content)
        attempt(lambda: read_manifest(tmp_path))

        def take() -> None:
            faces = FaceFolder(tmp_path, 32, "ffhq")
            faces.read(0)
            faces.landmarks(0)

        attempt(take)
