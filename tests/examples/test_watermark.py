"""The marks of the clients are those of the package, byte by byte."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idn.provenance.watermark import mark

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=[(150, 210), (64, 64), (5, 3), (129, 33)], ids=str)
def picture(request: pytest.FixtureRequest) -> np.ndarray:
    height, width = request.param
    rng = np.random.default_rng(height)
    noise = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    smooth[:, width // 2 :] += rng.integers(-40, 40, (height, width - width // 2, 3))
    return smooth.clip(0, 255).astype(np.uint8)


def test_in_numpy(picture: np.ndarray) -> None:
    spec = importlib.util.spec_from_file_location("example_watermark", EXAMPLES / "python/watermark.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    np.testing.assert_array_equal(module.mark(picture), mark(picture))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_in_javascript(picture: np.ndarray, tmp_path: Path) -> None:
    height, width = picture.shape[:2]
    Image.fromarray(picture).convert("RGBA").save(tmp_path / "given.png")
    (tmp_path / "given").write_bytes(Image.open(tmp_path / "given.png").tobytes())
    script, ours = Path(__file__).parent / "mark.mjs", EXAMPLES / "javascript/watermark.js"
    words = [script, ours, width, height, tmp_path / "given", tmp_path / "out"]
    subprocess.run(["node", *map(str, words)], check=True, capture_output=True)
    marked = np.fromfile(tmp_path / "out", np.uint8).reshape(height, width, 4)
    np.testing.assert_array_equal(marked[..., :3], mark(picture))
    assert (marked[..., 3] == 255).all()
