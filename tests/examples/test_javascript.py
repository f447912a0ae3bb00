"""The JavaScript client, run in Node, against PyTorch and against the Python client."""

import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idn.provenance.metadata import SYNTHETIC, said_by_picture
from idn.provenance.watermark import mark
from idn.provenance.watermark_search import find_mark

FOLDER = Path(__file__).parents[2] / "examples/javascript"
PACKAGES = ("onnxruntime-web", "sharp")

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node"),
    pytest.mark.skipif(
        not all((FOLDER / "node_modules" / name).is_dir() for name in PACKAGES),
        reason="needs the packages of examples/javascript: run `npm install` there",
    ),
]


def node(script: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", script, *map(str, words)], capture_output=True, text=True, check=False)


def cli(*words: object) -> None:
    done = node(FOLDER / "cli.mjs", *words)
    assert done.returncode == 0, done.stderr


def save(photo: Any, folder: Path) -> tuple[Path, Path]:
    picture, landmarks = folder / "photo.png", folder / "landmarks.json"
    Image.fromarray(photo.pixels).save(picture)
    landmarks.write_text(json.dumps(photo.landmarks.tolist()))
    return picture, landmarks


def assert_same_picture(path: Path, expected: np.ndarray) -> None:
    """That with the mark: two grey levels on 99.9 % of the pixels, and nowhere far off."""
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert image.text["DigitalSourceType"] == said_by_picture(image)["DigitalSourceType"] == SYNTHETIC
        difference = np.abs(np.asarray(image).astype(int) - mark(expected)).max(-1)
    assert (difference <= 2).mean() >= 0.999
    assert difference.max() <= 10


def test_network_gives_what_pytorch_gives(one_person: Any, aligned: Any, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(Image.fromarray(aligned.pixels).convert("RGBA").tobytes())
    target = torch.from_numpy(aligned.pixels).permute(2, 0, 1)[None] / 255
    script = Path(__file__).parent / "aligned.mjs"
    done = node(script, FOLDER / "swap.js", one_person.folder, tmp_path / "target", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    outputs = np.fromfile(tmp_path / "out", np.float32)
    expected = torch.cat([output.flatten() for output in one_person.torch("swap", target)])
    np.testing.assert_allclose(outputs, expected.numpy(), atol=1e-3)


def test_picture_is_that_of_the_python_client(client: ModuleType, one_person: Any, photo: Any, tmp_path: Path) -> None:
    picture, landmarks = save(photo, tmp_path)
    cli("swap", picture, tmp_path / "out.png", "--product", one_person.folder, "--landmarks", landmarks)
    expected = client.Product(one_person.folder).swap(photo.pixels, photo.landmarks, None)
    assert (expected != photo.pixels).mean() > 0.1
    assert_same_picture(tmp_path / "out.png", expected)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_photographs_of_other_formats_come_and_go_marked(
    suffix: str, client: ModuleType, one_person: Any, photo: Any, tmp_path: Path
) -> None:
    picture, landmarks = save(photo, tmp_path)
    exif = Image.Exif()
    exif[274] = 3  # lies upside down
    lying = Image.fromarray(np.ascontiguousarray(photo.pixels[::-1, ::-1]))
    lying.save(tmp_path / f"lying.{suffix}", exif=exif, quality=98)
    where = ("--product", one_person.folder, "--landmarks", landmarks)
    cli("swap", picture, tmp_path / "straight.png", *where)
    cli("swap", tmp_path / f"lying.{suffix}", tmp_path / f"out.{suffix}", *where)
    with Image.open(tmp_path / f"out.{suffix}") as out, Image.open(tmp_path / "straight.png") as straight:
        assert said_by_picture(out)["DigitalSourceType"] == SYNTHETIC and out.size == straight.size
        difference = np.abs(np.asarray(out.convert("RGB")).astype(int) - np.asarray(straight))
        assert difference.mean() < 4 and find_mark([np.asarray(out.convert("RGB"))]).found


def test_enlarged_photo(client: ModuleType, one_person: Any, source: Any, tmp_path: Path) -> None:
    """A face smaller than the crop: here pasting averages."""
    picture, landmarks = save(source, tmp_path)
    cli("swap", picture, tmp_path / "out.png", "--product", one_person.folder, "--landmarks", landmarks)
    expected = client.Product(one_person.folder).swap(source.pixels, source.landmarks, None)
    assert_same_picture(tmp_path / "out.png", expected)


def test_identities_are_shared_with_the_python_client(
    client: ModuleType, anybody: Any, photo: Any, source: Any, tmp_path: Path
) -> None:
    product = client.Product(anybody.folder)
    person = product.identity(source.pixels, source.landmarks)
    picture, landmarks = save(source, tmp_path)
    cli("identity", picture, tmp_path / "who.npy", "--product", anybody.folder, "--landmarks", landmarks)
    read = np.load(tmp_path / "who.npy")
    np.testing.assert_allclose(read, person, atol=1e-3, rtol=1e-3)
    np.save(tmp_path / "python.npy", person)
    picture, _ = save(photo, tmp_path)
    numbers = ",".join(map(str, photo.landmarks.flatten()))
    where = ("--product", anybody.folder, "--landmarks", numbers, "--identity", tmp_path / "python.npy")
    cli("swap", picture, tmp_path / "out.png", *where)
    assert_same_picture(tmp_path / "out.png", product.swap(photo.pixels, photo.landmarks, person))


@pytest.mark.parametrize(
    ("product", "landmarks", "message"),
    [
        ("anybody", None, "serves any identity"),
        ("one_person", "1,2,3", "not five points"),
        ("one_person", ",".join(["7"] * 10), "one and the same point"),
        ("one_person", "80,40,40,40,60,60,75,80,45,80", "do not form a face"),
    ],
)
def test_wrong_use_is_one_sentence(
    product: str, landmarks: str | None, message: str, photo: Any, tmp_path: Path, request: Any
) -> None:
    picture, points = save(photo, tmp_path)
    folder = request.getfixturevalue(product).folder
    out = tmp_path / "out.png"
    done = node(FOLDER / "cli.mjs", "swap", picture, out, "--product", folder, "--landmarks", landmarks or points)
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not out.exists()
