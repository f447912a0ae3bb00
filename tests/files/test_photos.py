"""Photographs: pixel types, colour profiles, EXIF, and whatever damage a file may have."""

import os
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, TiffImagePlugin

from idn.files.photos import (
    SUFFIXES,
    LargePhoto,
    UnreadablePhoto,
    as_pixels,
    decode_photo,
    list_photos,
    photo_size,
    printable,
    read_photo,
    write_photo,
)
from tests.raising import raises

RAMP = np.linspace(0, 1, 48).reshape(6, 8)


def grey(values: np.ndarray, path: Path, **options: object) -> torch.Tensor:
    """What is read of grey numbers that were saved as they are."""
    Image.fromarray(values).save(path, **options)
    pixels = read_photo(path)
    assert pixels.shape == (3, *values.shape) and torch.equal(pixels[0], pixels[2])
    return pixels[0].double() / 255


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("uint8", 255), ("uint16", 65535), ("int32", 255), ("int32", 65535), ("float32", 1), ("float32", 255)],
)
def test_grey_numbers_are_scaled_by_what_they_can_only_mean(tmp_path: Path, dtype: str, white: int) -> None:
    pixels = grey((RAMP * white).astype(dtype), tmp_path / "x.tif")
    assert (pixels - torch.from_numpy(RAMP)).abs().max() < 0.006


def test_a_dark_picture_in_16_bits_stays_dark(tmp_path: Path) -> None:
    assert grey((RAMP * 200).astype("uint16"), tmp_path / "x.png").max() < 0.01


@pytest.mark.parametrize("white", [1.4, 8.0, 1e6, -1.0, float("nan"), float("inf")])
def test_floats_on_no_known_scale_are_left_out(tmp_path: Path, white: float) -> None:
    Image.fromarray((RAMP * white).astype("float32")).save(tmp_path / "x.tif")
    with pytest.raises(UnreadablePhoto, match="brightnesses"):
        read_photo(tmp_path / "x.tif")


@pytest.mark.parametrize("white", [-5, 10**8])
def test_integers_on_no_known_scale_are_left_out(tmp_path: Path, white: int) -> None:
    Image.fromarray((RAMP * white).astype("int32")).save(tmp_path / "x.tif")
    with pytest.raises(UnreadablePhoto, match="brightnesses"):
        read_photo(tmp_path / "x.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_may_be_zero_in_a_tif(tmp_path: Path, dtype: str) -> None:
    white = np.iinfo(dtype).max
    pixels = grey(((1 - RAMP) * white).astype(dtype), tmp_path / "x.tif", tiffinfo={262: 0})
    assert (pixels - torch.from_numpy(RAMP)).abs().max() < 0.006 or dtype == "uint8"  # Pillow writes its own tag there


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".mpo", ".pgm"}))
def test_every_ending_is_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (32, 24), (200, 120, 60)).save(tmp_path / f"x{suffix.upper()}")
    assert list_photos(tmp_path).names == [f"x{suffix.upper()}"]
    pixels = read_photo(tmp_path / f"x{suffix.upper()}")
    assert pixels.shape == (3, 24, 32) and (pixels.float().mean((1, 2)) - torch.tensor([200, 120, 60])).abs().max() < 4


def test_lab_is_converted(tmp_path: Path) -> None:
    profile = ImageCms.createProfile("LAB")
    rgb = Image.new("RGB", (4, 4), (200, 120, 60))
    ImageCms.profileToProfile(rgb, ImageCms.createProfile("sRGB"), profile, outputMode="LAB").save(tmp_path / "x.tif")
    assert (read_photo(tmp_path / "x.tif").float()[:, 0, 0] - torch.tensor([200, 120, 60])).abs().max() < 6


def swapped() -> bytes:
    """A valid profile in which red and green change places: sRGB with the tags of two primaries exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "odd ".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_follow_the_profile(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (4, 4), (200, 100, 50)).convert(mode)
    image.save(tmp_path / "x.png", icc_profile=swapped())
    red, green, _ = (float(v) for v in read_photo(tmp_path / "x.png")[:, 0, 0])
    assert abs(red - 100) < 6 and abs(green - 200) < 6
    image.save(tmp_path / "y.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    plain = image.convert("RGB").getpixel((0, 0))
    assert tuple(read_photo(tmp_path / "y.png")[:, 0, 0].tolist()) == plain


@pytest.mark.parametrize("broken", [b"no profile", swapped()[:200], b"\0" * 500])
def test_a_broken_profile_is_passed_over_with_a_note(tmp_path: Path, broken: bytes) -> None:
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "x.png", icc_profile=broken)
    pixels, note = decode_photo(tmp_path / "x.png")
    assert pixels[:, 0, 0].tolist() == [200, 100, 50] and "colour profile is passed over" in note
    with pytest.warns(UserWarning, match=r"x\.png: its colour profile is passed over"):
        read_photo(tmp_path / "x.png")


def test_a_profile_of_another_kind_of_picture_is_passed_over(tmp_path: Path) -> None:
    cmyk_for_rgb = swapped().replace(b"RGB XYZ ", b"CMYKXYZ ")
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "x.png", icc_profile=cmyk_for_rgb)
    assert decode_photo(tmp_path / "x.png")[1] is not None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp", ".png"])
def test_every_orientation_is_undone_whatever_else_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[16:, :24] = (255, 0, 0), (0, 0, 255)
    undo = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (1, 0), 7: (1, 1), 8: (3, 0)}.get(orientation, (0, 0))
    stored = np.rot90(picture, undo[0])
    stored = np.ascontiguousarray(stored[:, ::-1] if undo[1] else stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(stored).save(tmp_path / f"x{suffix}", exif=exif, **options)
    pixels = read_photo(tmp_path / f"x{suffix}").permute(1, 2, 0).numpy().astype(int)
    assert pixels.shape == picture.shape and np.abs(pixels - picture).mean() < 3


def exif_jpeg(tag: int, value: object, kind: int) -> bytes:
    """A JPEG whose EXIF says to turn it, with a tag of another type than it should have."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    ifd[0x0112] = 6
    ifd.tagtype[tag] = kind
    ifd[tag] = value
    written = BytesIO()
    ifd.save(written)
    saved = BytesIO()
    Image.new("RGB", (8, 4), (9, 9, 9)).save(saved, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + written.getvalue())
    return saved.getvalue()


@pytest.mark.parametrize(
    ("tag", "value", "kind"), [(0x0100, "wide", 2), (0x8769, "no offset", 2), (0x011A, "not a fraction", 2)]
)
def test_tags_of_the_wrong_type_do_no_harm(tmp_path: Path, tag: int, value: object, kind: int) -> None:
    (tmp_path / "x.jpg").write_bytes(exif_jpeg(tag, value, kind))
    assert read_photo(tmp_path / "x.jpg").shape[0] == 3


def test_a_picture_in_memory_is_read_like_one_on_disk(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP * 65535).astype("uint16"))
    image.save(tmp_path / "x.png")
    assert torch.equal(as_pixels(image), read_photo(tmp_path / "x.png"))
    with pytest.raises(UnreadablePhoto, match="brightnesses"):
        as_pixels(Image.fromarray((RAMP * 3).astype("float32")))


def test_more_pixels_than_pillow_allows_are_read_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    assert photo_size(tmp_path / "x.png") == (40, 30) and read_photo(tmp_path / "x.png").shape == (3, 30, 40)
    assert Image.MAX_IMAGE_PIXELS == 100
    with raises(LargePhoto, "40 x 30", "1200", "max_pixels=1199"):
        read_photo(tmp_path / "x.png", max_pixels=1199)


def test_no_other_reader_of_pillow_is_used_whatever_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    os.rename(tmp_path / "x.eps", tmp_path / "x.jpg")
    with raises(UnreadablePhoto, "JPEG", "PNG"):
        read_photo(tmp_path / "x.jpg")


def test_names_that_are_no_utf8_can_be_shown() -> None:
    assert printable(os.fsdecode(b"caf\xe9.png")) == "caf\\udce9.png" and printable("café") == "café"


def test_a_folder_that_cannot_be_opened_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: Path | int) -> object:  # an open folder, where one is deleted
        if not isinstance(path, int) and Path(path).name == "closed":
            raise PermissionError
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_photos(tmp_path).closed == 1


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Truncated, with a few bytes changed, or with a piece repeated or left out."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3, 30))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    a, b = sorted(draw.randrange(len(changed)) for _ in range(2))
    return bytes(draw.choice((changed, changed[:b], changed[:a] + changed[b:], changed[:b] + changed[a:])))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
def test_damaged_photographs_are_read_or_named_never_anything_else(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(20)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    noise = Image.effect_noise((40, 30), 60).convert("RGB")
    notes = {} if suffix in (".bmp", ".gif") else {"exif": exif, "icc_profile": swapped()}
    noise.save(tmp_path / f"whole{suffix}", **notes)
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    for number in range(120):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(mutated(whole, draw))
        for look in (photo_size, decode_photo):
            try:
                look(path)
            except UnreadablePhoto as error:
                assert str(error)


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OSError):
        write_photo(tmp_path / "x.png", torch.zeros(3, 4, 4, dtype=torch.uint8), 90)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
