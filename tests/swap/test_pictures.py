"""Files and folders of pictures: names kept, nothing overwritten, what fails is told and stops nobody."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idn.errors import FileError, MissingExtra, OptionError, UserError
from idn.files.photos import is_photo, read_photo, write_photo
from idn.provenance.stamp import Stamp
from idn.swap import still
from idn.swap.pictures import PictureWork, swap_folder, swap_picture
from idn.swap.report import Report
from tests.raising import raises
from tests.swap.parts import Brighter, Found, face
from tests.swap.test_photo import smooth, swapping


def work(faces: int = 1, **options: object) -> PictureWork:
    many = swapping(Brighter(32, 1.0))
    found = Found([face(60, 40, 100)] * faces)
    usual = {
        "swapping": many,
        "detector": found,
        "overwrite": False,
        "picture_format": None,
        "quality": 95,
        "stamp": Stamp(),
        "report": Report(many.parts),
    }
    return PictureWork(**usual | options)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_photo(tmp_path / "photo.png", smooth(), 95)
    return tmp_path / "photo.png"


def test_a_photograph_is_written_with_what_it_is(photo: Path, tmp_path: Path) -> None:
    done = work()
    swap_picture(photo, tmp_path / "deep/out.png", done)
    with Image.open(tmp_path / "deep/out.png") as image:
        assert "DigitalSourceType" in image.text and "brighter" in image.text["model"] and image.size == (260, 200)
        assert image.text["Model"] == f"sha256:{'0' * 64}"
    assert done.report.swapped == 1 and done.report.similarity and done.report.written
    done.report.table()


def test_nothing_is_overwritten_unless_asked(photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    for out in (photo, tmp_path / "." / "photo.png"):
        with raises(OptionError, "target itself", argument="out"):
            swap_picture(photo, out, work(overwrite=True))
    write_photo(tmp_path / "mine.png", smooth(), 95)
    with raises(OptionError, "source itself", argument="out"):
        swap_picture(photo, tmp_path / "mine.png", work(overwrite=True, sources=[tmp_path / "mine.png"]))
    (tmp_path / "out.png").write_text("mine")
    with raises(OptionError, "overwrite=true", argument="out"):
        swap_picture(photo, tmp_path / "out.png", work())
    assert photo.read_bytes() == before and (tmp_path / "out.png").read_text() == "mine"
    swap_picture(photo, tmp_path / "out.png", work(overwrite=True))
    assert read_photo(tmp_path / "out.png").shape == (3, 200, 260)


def test_a_failure_leaves_nothing_under_the_name(photo: Path, tmp_path: Path) -> None:
    with raises(FileError, "no face", path=photo):
        swap_picture(photo, tmp_path / "out.png", work(faces=0))
    with raises(OptionError, ".png", argument="out"):
        swap_picture(photo, tmp_path / "out.mp3", work())
    (tmp_path / "file").write_text("")
    with raises(OptionError, "cannot be written", argument="out"):
        swap_picture(photo, tmp_path / "file/out.png", work())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photo.png"]


@pytest.mark.parametrize("kind", ["alpha.png", "grey.png", "cmyk.jpg", "deep.png", "turned.jpg", "odd.webp"])
def test_every_kind_of_picture_is_taken(kind: str, tmp_path: Path) -> None:
    pixels = Image.fromarray(smooth().permute(1, 2, 0).numpy())
    made = {
        "alpha.png": lambda: pixels.convert("RGBA"),
        "grey.png": lambda: pixels.convert("L"),
        "cmyk.jpg": lambda: pixels.convert("CMYK"),
        "deep.png": lambda: Image.fromarray(np.asarray(pixels.convert("L")).astype(np.uint16) * 257),
        "turned.jpg": lambda: pixels,
        "odd.webp": lambda: pixels.crop((0, 0, 201, 153)),
    }[kind]()
    exif = Image.Exif()
    if kind == "turned.jpg":
        exif[0x0112] = 6
    made.save(tmp_path / kind, exif=exif)
    done = work()
    swap_picture(tmp_path / kind, tmp_path / "out.png", done)
    assert len(done.report.notes) == (kind in ("alpha.png", "deep.png"))
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == {"turned.jpg": (200, 260), "odd.webp": (201, 153)}.get(kind, (260, 200))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_is_refused(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), (40 * k, 0, 0)) for k in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with raises(FileError, "animation of 3", path=tmp_path / f"a.{suffix}"):
        swap_picture(tmp_path / f"a.{suffix}", tmp_path / "out.png", work())


def test_a_heic_without_its_plugin_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "FORMATS", ("JPEG", "PNG"))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    assert is_photo(tmp_path / "a.heic")
    with raises(MissingExtra, "HEIC", "JPEG", extra="heic"):
        swap_picture(tmp_path / "a.heic", tmp_path / "out.png", work())


def test_a_photograph_is_known_by_what_it_holds_where_its_ending_says_nothing(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(photo.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    assert is_photo(tmp_path / "download") and not is_photo(tmp_path / "notes.txt")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(27, "File too large")])
def test_a_disk_that_refuses_leaves_nothing(
    error: OSError, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "save", refuse)
    with raises(FileError, error.strerror, "nothing of it", path=tmp_path / "out.png"):
        swap_picture(photo, tmp_path / "out.png", work())
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_format_that_cannot_hold_a_picture_is_one_sentence(tmp_path: Path) -> None:
    Image.new("L", (16400, 8)).save(tmp_path / "long.png")
    with raises(FileError, "format", path=tmp_path / "out.webp"):
        swap_picture(tmp_path / "long.png", tmp_path / "out.webp", work())


def test_a_folder_keeps_names_folders_and_formats(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b/c.JPG", "b/d.webp", "e.bmp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth().permute(1, 2, 0).numpy()).save(root / name)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (root / "notes.txt").write_text("no picture")
    (root / "clip.heics").write_text("no picture")
    (out / "b").mkdir(parents=True)
    (out / "b/d.webp").write_text("mine")
    done = work()
    swap_folder(root, out, done)
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["a.png", "b/c.JPG", "b/d.webp", "e.png"]
    assert (out / "b/d.webp").read_text() == "mine"
    failed = dict(done.report.failed)
    assert failed.keys() == {"broken.jpg", "b/d.webp"} and "overwrite" in failed["b/d.webp"]
    assert str(root) not in failed["broken.jpg"]
    assert done.report.notes == ["left out: 1 .heics, 1 .txt"]
    again = work(picture_format="png", overwrite=True)
    swap_folder(root, out, again)
    assert (out / "b/c.png").is_file() and len(again.report.written) == 4


def test_folders_that_cannot_work(tmp_path: Path, photo: Path) -> None:
    for out in (tmp_path, tmp_path / "in/out", tmp_path / "in"):
        (tmp_path / "in").mkdir(exist_ok=True)
        with raises(OptionError, "overlap", argument="out"):
            swap_folder(tmp_path / "in", out, work())
    with raises(OptionError, argument="target"):
        swap_folder(tmp_path / "in", tmp_path / "new", work())
    write_photo(tmp_path / "in/a.png", smooth(), 95)
    with raises(UserError, "nothing of target"):
        swap_folder(tmp_path / "in", tmp_path / "new", work(faces=0))


def test_aligned_crops_are_swapped_as_they_are(tmp_path: Path, photo: Path) -> None:
    write_photo(tmp_path / "crop.png", smooth(80, 80), 95)
    done = work(detector=None)
    swap_picture(tmp_path / "crop.png", tmp_path / "out.png", done)
    assert read_photo(tmp_path / "out.png").shape == (3, 32, 32)
    with raises(FileError, "260 x 200", path=photo):
        swap_picture(photo, tmp_path / "other.png", done)
