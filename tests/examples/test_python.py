"""The Python client against PyTorch, the package's own geometry and a pasting loop written out."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idn.geometry import affine, templates, warping
from idn.images import from_uint8
from idn.provenance.metadata import SYNTHETIC, said_by_picture
from idn.provenance.watermark import mark
from tests.raising import raises

CLIENT = Path(__file__).parents[2] / "examples/python/swap.py"


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return from_uint8(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])


def template(size: int = 1) -> np.ndarray:
    return templates.template_points("ffhq").numpy() * size


def test_needs_neither_torch_nor_this_package() -> None:
    tree = ast.parse(CLIENT.read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert ours == {"numpy", "onnxruntime", "PIL", "cv2", "watermark"}


def test_fit_is_the_least_squares_similarity(client: ModuleType) -> None:
    points, onto = (torch.rand(5, 2, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    expected = affine.fit_similarity(points, onto).numpy()
    matrix = client.fit_similarity(points.numpy(), onto.numpy())
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    back = client.invert(matrix)
    np.testing.assert_allclose(matrix[:, :2] @ back[:, 2] + matrix[:, 2], 0, atol=1e-12)


def test_alignment_finds_the_known_place(client: ModuleType, photo: Any) -> None:
    matrix = client.align(photo.landmarks, template(), 64)
    np.testing.assert_allclose(matrix / 64, photo.to_crop.numpy(), atol=1e-9)


@pytest.mark.parametrize("order", [(1, 0, 2, 4, 3), (0, 1, 3, 4, 2), (3, 4, 2, 0, 1)])
def test_landmarks_in_another_order_are_refused(client: ModuleType, photo: Any, order: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="landmarks"):
        client.align(photo.landmarks[list(order)], template(), 64)


def test_crop_equals_the_one_of_the_training_data(client: ModuleType, photo: Any) -> None:
    """Enlarged a little, so that neither averages."""
    height, width = photo.pixels.shape[:2]
    padded = np.pad(photo.pixels, ((0, 0), (0, height - width), (0, 0)), mode="edge")
    expected = warping.warp(tensor(padded), photo.to_crop * torch.tensor([height, height, 1]), 192)
    crop = client.cut(photo.pixels, client.align(photo.landmarks, template(), 192), 192)
    assert crop.dtype == np.float32
    np.testing.assert_allclose(crop, expected.numpy(), atol=1e-5)


def test_shrinking_averages(client: ModuleType) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    small = client.resample(noise, np.array([[4.0, 0, 0], [0, 4, 0]]), 24, 16)
    np.testing.assert_allclose(small, noise.reshape(16, 4, 24, 4, 3).mean((1, 3)), atol=1e-3)


def test_network_gives_what_pytorch_gives(client: ModuleType, one_person: Any, aligned: Any) -> None:
    onto = client.align(aligned.landmarks, template(), 64)
    crop = client.cut(aligned.pixels, onto, 64)
    np.testing.assert_allclose(crop, tensor(aligned.pixels).numpy(), atol=1e-6)
    outputs = client.Product(one_person.folder).run("swap", {"target": crop})
    image, mask = one_person.torch("swap", torch.from_numpy(crop))
    np.testing.assert_allclose(outputs["image"], image.numpy(), atol=1e-4)
    np.testing.assert_allclose(outputs["mask"], mask.numpy(), atol=1e-4)


def sample(layer: np.ndarray, x: float, y: float) -> np.ndarray:
    """A (S, S, 4) layer at one position, which lies inside."""
    size = len(layer)
    x, y = min(max(x - 0.5, 0), size - 1), min(max(y - 0.5, 0), size - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, size - 1), min(top + 1, size - 1)
    fx, fy = x - left, y - top
    upper = layer[top, left] * (1 - fx) + layer[top, right] * fx
    return upper * (1 - fy) + (layer[bottom, left] * (1 - fx) + layer[bottom, right] * fx) * fy


def test_pasting_pixel_by_pixel(client: ModuleType, photo: Any) -> None:
    size = 64
    generator = np.random.default_rng(1)
    image, mask = generator.random((3, size, size)), generator.random((1, size, size))
    onto = client.align(photo.landmarks, template(), size)
    layer = np.zeros((size, size, 4))
    layer[..., :3] = image.transpose(1, 2, 0)
    for row in range(size):
        for column in range(size):
            inwards = min(row, column, size - 1 - row, size - 1 - column) / (0.1 * size)
            layer[row, column, 3] = min(inwards, 1) * min(mask[0, row, column] / 0.25, 1)
    expected = photo.pixels.astype(float)
    for y, x in np.ndindex(*photo.pixels.shape[:2]):
        u, v = onto[:, :2] @ (x + 0.5, y + 0.5) + onto[:, 2]
        if 0 <= u <= size and 0 <= v <= size:
            *colour, share = sample(layer, u, v)
            expected[y, x] += (255 * np.array(colour) - expected[y, x]) * share
    pasted = client.paste_back(photo.pixels, image, mask, onto)
    assert np.abs(pasted - expected).max() <= 0.51
    assert (pasted != photo.pixels).mean() > 0.2


def test_a_closed_mask_leaves_the_photo_alone(client: ModuleType, photo: Any) -> None:
    onto = client.align(photo.landmarks, template(), 64)
    pasted = client.paste_back(photo.pixels, np.ones((3, 64, 64)), np.zeros((1, 64, 64)), onto)
    np.testing.assert_array_equal(pasted, photo.pixels)


def test_an_unchanged_crop_gives_the_photo_again(client: ModuleType) -> None:
    """A smooth photo, where resampling there and back costs next to nothing."""
    rows, columns = np.mgrid[:120, :150]
    smooth = np.stack([rows, columns, 255 - rows], -1).astype(np.uint8)
    onto = client.align(template(100) + 15, template(), 64)
    crop = client.cut(smooth, onto, 64)[0]
    pasted = client.paste_back(smooth, crop, np.ones((1, 64, 64)), onto)
    assert np.abs(pasted.astype(int) - smooth).max() <= 1


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CLIENT, *map(str, words)], capture_output=True, text=True, check=False)


def save(photo: Any, folder: Path, name: str) -> tuple[Path, Path]:
    picture, landmarks = folder / f"{name}.png", folder / f"{name}.json"
    Image.fromarray(photo.pixels).save(picture)
    landmarks.write_text(json.dumps(photo.landmarks.tolist()))
    return picture, landmarks


def test_commands_of_a_product_for_anybody(
    client: ModuleType, anybody: Any, photo: Any, source: Any, tmp_path: Path
) -> None:
    target, _ = save(photo, tmp_path, "target")
    person, person_points = save(source, tmp_path, "source")
    where = ("--product", anybody.folder, "--landmarks")
    made = command("identity", person, tmp_path / "who.npy", *where, person_points)
    assert made.returncode == 0, made.stderr
    numbers = ",".join(map(str, photo.landmarks.flatten()))
    swapped = command("swap", target, tmp_path / "out.png", *where, numbers, "--identity", tmp_path / "who.npy")
    assert swapped.returncode == 0, swapped.stderr
    with Image.open(tmp_path / "out.png") as out:
        assert out.text["DigitalSourceType"] == SYNTHETIC
        assert "not photographs of anybody" in out.text["Comment"]
        assert said_by_picture(out)["DigitalSourceType"] == SYNTHETIC
        product = client.Product(anybody.folder)
        swapped = product.swap(photo.pixels, photo.landmarks, np.load(tmp_path / "who.npy"))
        np.testing.assert_array_equal(np.asarray(out), mark(swapped))
    changed = (swapped.astype(int) - photo.pixels).any(-1)
    assert changed.mean() > 0.1
    assert not changed[:5].any() and not changed[:, :20].any()


def test_identity_is_what_pytorch_reads(client: ModuleType, anybody: Any, encoder: Any, source: Any) -> None:
    vector = client.Product(anybody.folder).identity(source.pixels, source.landmarks)
    points = templates.template_points(encoder.template)
    onto = affine.fit_similarity(torch.from_numpy(source.landmarks), points)
    side = source.pixels.shape[0]
    crop = warping.warp(tensor(source.pixels), onto * onto.new_tensor([side, side, 1]), encoder.input_size)
    (expected,) = anybody.torch("injection", *anybody.torch("encoder", crop))
    np.testing.assert_allclose(vector, expected.numpy(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("product", "verb", "extra", "message"),
    [
        ("one_person", "identity", [], "holds one identity"),
        ("anybody", "swap", [], "serves any identity"),
        ("one_person", "swap", ["--precision", "fp16"], "no fp16 ONNX file"),
        ("one_person", "swap", ["--landmarks", "1,2,3"], "not five points"),
        ("one_person", "swap", ["--landmarks", ",".join(["7"] * 10)], "one and the same point"),
    ],
)
def test_wrong_use_is_one_sentence(
    product: str, verb: str, extra: list[str], message: str, photo: Any, tmp_path: Path, request: Any
) -> None:
    picture, landmarks = save(photo, tmp_path, "photo")
    folder = request.getfixturevalue(product).folder
    done = command(verb, picture, tmp_path / "out.png", "--product", folder, "--landmarks", landmarks, *extra)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_refuses_a_format_that_would_lose_the_note(client: ModuleType, photo: Any, tmp_path: Path) -> None:
    with raises(ValueError, "out.bmp", ".png"):
        client.write_synthetic(photo.pixels, tmp_path / "out.bmp")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_every_format_says_what_it_is(ending: str, client: ModuleType, photo: Any, tmp_path: Path) -> None:
    client.write_synthetic(photo.pixels, tmp_path / f"out.{ending}")
    with Image.open(tmp_path / f"out.{ending}") as out:
        assert said_by_picture(out)["DigitalSourceType"] == SYNTHETIC and out.size == photo.pixels.shape[1::-1]


def test_turned_photos_are_turned_upright(client: ModuleType, photo: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo.pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(client.read_photo(tmp_path / "turned.png"), np.rot90(photo.pixels, -1))


def test_detected_landmarks_are_pixels_of_the_photo(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for OpenCV that finds two faces in the shrunk copy: the larger one counts."""
    seen = {}

    class FaceDetector:
        @staticmethod
        def create(model: str, config: str, size: tuple[int, int]) -> "FaceDetector":
            seen["size"] = size
            return FaceDetector()

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray]:
            seen["image"] = image
            small, large = np.arange(15.0), np.arange(100.0, 115.0)
            small[2:4], large[2:4] = 10, 60
            return 1, np.stack([small, large]).astype(np.float32)

    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(FaceDetectorYN=FaceDetector))
    picture = np.zeros((640, 1280, 3), np.uint8)
    picture[..., 0] = 200
    landmarks = client.find_landmarks(picture, Path("yunet.onnx"))
    np.testing.assert_allclose(landmarks, 2 * np.arange(104.0, 114.0).reshape(5, 2))
    assert seen["size"] == (640, 320) and seen["image"].shape == (320, 640, 3)
    assert (seen["image"] == (0, 0, 200)).all()
