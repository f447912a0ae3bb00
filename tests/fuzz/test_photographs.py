"""Mutated photographs: read right, or passed over with a reason; nothing else is raised."""

import contextlib
import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from idn.data.photo_folder import FaceFolder
from idn.errors import UserError
from idn.files.photos import UnreadablePhoto, photo_size, read_photo
from tests.fuzz.damage import damaged

FORMATS = ("jpg", "png", "webp", "tif", "bmp")
MODES = ("RGB", "L", "RGBA", "P", "CMYK", "I;16", "F", "1")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photograph(draw: random.Random, suffix: str) -> bytes:
    """A small picture of any mode that the format has, with EXIF (a turn, text, GPS) and a colour profile."""
    pixels = np.frombuffer(draw.randbytes(48 * 48 * 3), np.uint8).reshape(48, 48, 3)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = draw.randrange(0, 10), "somebody"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    encoded = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    options = {} if suffix == "bmp" else {"exif": exif.tobytes(), "icc_profile": PROFILE}
    for mode in draw.sample(MODES, len(MODES)):
        try:
            image = Image.fromarray(pixels)
            image = image.convert("L").convert(mode) if ";" in mode else image.convert(mode)
            image.save(encoded, kind, **options)
            return encoded.getvalue()
        except (OSError, ValueError):
            encoded = io.BytesIO()
    raise AssertionError(suffix)


def try_photographs(draw: random.Random, folder: Path, count: int) -> dict[str, int]:
    outcomes = {"read": 0, "passed over": 0}
    for number in range(count):
        suffix = FORMATS[number % len(FORMATS)]
        path = folder / f"{number}.{suffix}"
        content = photograph(draw, suffix)
        path.write_bytes(damaged(draw, content) if number % 4 else content)
        try:
            width, height = photo_size(path)
            pixels = read_photo(path)
        except UnreadablePhoto as error:
            assert str(error)
            outcomes["passed over"] += 1
            continue
        assert pixels.dtype == torch.uint8 and pixels.shape in ((3, height, width), (3, width, height))
        outcomes["read"] += 1
    return outcomes


@pytest.mark.filterwarnings("ignore")
def test_a_mutated_photograph_is_read_or_passed_over(draw: random.Random, canary: Path, tmp_path: Path) -> None:
    outcomes = try_photographs(draw, tmp_path, 300)
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("turn", range(10))
def test_many_mutated_photographs(turn: int, draw: random.Random, canary: Path, tmp_path: Path) -> None:
    try_photographs(draw, tmp_path, 500)


def folder_of(draw: random.Random, root: Path) -> None:
    """Crops of a few people, of which some files are broken and some lie where none should."""
    for number in range(draw.randrange(4, 12)):
        person = root / draw.choice(("a", "b", "c", "2010", ".hidden", "ä ö"))
        person.mkdir(parents=True, exist_ok=True)
        path = person / f"{number}.{draw.choice(FORMATS)}"
        content = photograph(draw, path.suffix[1:])
        path.write_bytes(damaged(draw, content) if draw.random() < 0.4 else content)
    for name, content in (("notes.txt", b"x"), ("0.jpg", b""), ("manifest.jsonl", draw.randbytes(60))):
        if draw.random() < 0.3:
            (root / name).write_bytes(content)


@pytest.mark.filterwarnings("ignore")
def test_a_folder_with_broken_crops_is_read_or_refused_in_a_sentence(
    draw: random.Random, canary: Path, tmp_path: Path
) -> None:
    outcomes = {"read": 0, "refused": 0}
    for number in range(40):
        root = tmp_path / str(number)
        root.mkdir()
        folder_of(draw, root)
        try:
            faces = FaceFolder(root, 32, "ffhq", "ffhq", draw.choice(("auto", "flat", "identities")))
            for index in range(len(faces)):
                with contextlib.suppress(UnreadablePhoto):
                    assert faces.read(index).shape == (3, 32, 32)
            assert all(faces.unreadable.values())
            outcomes["read"] += 1
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            outcomes["refused"] += 1
    assert sum(outcomes.values()) == 40
