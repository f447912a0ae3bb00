"""The page, in a headless Chromium, against PyTorch."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from idn.provenance.watermark import mark

FOLDER = Path(__file__).parents[2] / "examples/javascript"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PACKAGES = ("onnxruntime-web", "sharp", "playwright-core")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node"),
    pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason="needs Chromium: $CHROMIUM or /usr/bin/chromium"),
    pytest.mark.skipif(
        not all((FOLDER / "node_modules" / name).is_dir() for name in PACKAGES),
        reason="needs the packages of examples/javascript: run `npm install` there",
    ),
]


def save(photo: Any, folder: Path, name: str) -> tuple[Path, Path]:
    picture, landmarks = folder / f"{name}.png", folder / f"{name}.json"
    Image.fromarray(photo.pixels).save(picture)
    landmarks.write_text(json.dumps(photo.landmarks.tolist()))
    return picture, landmarks


def check(product: Any, target: tuple[Path, Path], expected: Path, *source: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", FOLDER / "check_in_browser.mjs", product.folder, *target, expected, *source]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120)


def by_pytorch(client: ModuleType, exported: Any, photo: Any, identity: torch.Tensor | None, path: Path) -> None:
    """What the page should offer, mark included, with the network in PyTorch."""
    card = client.Product(exported.folder).card
    onto = client.align(photo.landmarks, client.np.array(card["template"]["points"]), card["size"])
    target = torch.from_numpy(client.cut(photo.pixels, onto, card["size"]))
    image, mask = exported.torch("swap", target, *(() if identity is None else (identity,)))
    pasted = client.paste_back(photo.pixels, image[0].numpy(), mask[0].numpy(), onto)
    Image.fromarray(mark(pasted)).save(path)


def test_one_person(client: ModuleType, one_person: Any, photo: Any, tmp_path: Path) -> None:
    target, expected = save(photo, tmp_path, "target"), tmp_path / "expected.png"
    by_pytorch(client, one_person, photo, None, expected)
    done = check(one_person, target, expected)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on the page" not in done.stderr
    wrong = check(one_person, target, target[0])
    assert wrong.returncode == 1, "the untouched photo must not pass for the swap"


def test_anybody(client: ModuleType, anybody: Any, photo: Any, source: Any, tmp_path: Path) -> None:
    card = client.Product(anybody.folder).card
    size, points = card["encoder"]["size"], client.np.array(card["encoder"]["template"]["points"])
    crop = client.cut(source.pixels, client.align(source.landmarks, points, size), size)
    (identity,) = anybody.torch("injection", *anybody.torch("encoder", torch.from_numpy(crop)))
    by_pytorch(client, anybody, photo, identity, tmp_path / "expected.png")
    target = save(photo, tmp_path, "target")
    done = check(anybody, target, tmp_path / "expected.png", *save(source, tmp_path, "source"))
    assert done.returncode == 0, done.stdout + done.stderr
