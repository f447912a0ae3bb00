"""What `idn provenance` finds in pictures and videos."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from idn.cli.verbs.provenance import provenance
from idn.errors import DamagedFile, FileError, MissingFile, OptionError
from idn.provenance.inspection import inspect_file
from idn.provenance.metadata import Lineage
from idn.provenance.stamp import Stamp
from tests.raising import raises

LINEAGE = Lineage("ef" * 32)


@pytest.fixture
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(60, 200, (12, 16, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((240, 180), Image.Resampling.BICUBIC))


def film(path: Path, frames: list[np.ndarray], tags: dict[str, str]) -> None:
    av = pytest.importorskip("av", reason="videos need the extra video")
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "28", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_a_picture_says_all_it_has(picture: np.ndarray, tmp_path: Path) -> None:
    Stamp().save(picture, tmp_path / "made.jpg", LINEAGE)
    report = inspect_file(tmp_path / "made.jpg")
    assert report.synthetic and report.mark.found and report.frames == 1
    assert report.said["Model"].endswith("ef" * 32)
    text = "\n".join(report.lines())
    assert "compositeWithTrainedAlgorithmicMedia" in text and "probability of chance" in text
    assert json.loads(json.dumps(report.record()))["mark"]["found"] is True


def test_the_mark_remains_where_metadata_is_lost(picture: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(Stamp().pixels(picture)).save(tmp_path / "copy.bmp")
    report = inspect_file(tmp_path / "copy.bmp")
    assert report.synthetic and report.said == {}
    assert "says nothing" in report.lines()[1]


def test_a_picture_of_something_else(picture: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "photo.png")
    report = inspect_file(tmp_path / "photo.png")
    assert not report.synthetic and report.mark.probability > 0.01
    assert "not found" in report.lines()[3]


def test_a_picture_that_moves_is_pooled(picture: np.ndarray, tmp_path: Path) -> None:
    frames = [Image.fromarray(Stamp().pixels(np.roll(picture, 9 * index, 1))) for index in range(5)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], quality=80)
    report = inspect_file(tmp_path / "moving.webp", frames=4)
    assert report.mark.found and report.frames == 4


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_video_is_read_from_all_over(picture: np.ndarray, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"made.{ending}"
    frames = [Stamp().pixels(np.roll(picture, 3 * index, 1)) for index in range(12)]
    film(path, frames, Stamp().tags(LINEAGE))
    report = inspect_file(path, frames=3)
    assert report.mark.found and 1 < report.frames <= 4
    assert report.said["Model"].endswith("ef" * 32)


def test_bad_input_is_one_sentence_each(picture: np.ndarray, tmp_path: Path) -> None:
    with raises(MissingFile, path=tmp_path / "none.png"):
        inspect_file(tmp_path / "none.png")
    with raises(FileError, "FOLDER/*", path=tmp_path):
        inspect_file(tmp_path)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(picture).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    pytest.importorskip("av", reason="videos need the extra video")
    for name in ("empty.mp4", "text.png", "cut.png"):
        with raises(DamagedFile, path=tmp_path / name):
            inspect_file(tmp_path / name)


def config(*files: Path, **others: object) -> OmegaConf:
    values = {"files": [str(file) for file in files], "frames": 4, "resized": False, "json": False}
    return OmegaConf.create(values | others)


def test_scripts_can_use_it(picture: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, photo = tmp_path / "made.png", tmp_path / "photo.png"
    Stamp().save(picture, made, LINEAGE)
    Image.fromarray(picture).save(photo)
    provenance(config(made))
    assert str(made) in capsys.readouterr().out
    for files, status in (((made, photo), 1), ((tmp_path / "none.png", made), 2)):
        with pytest.raises(SystemExit) as ended:
            provenance(config(*files, json=True))
        assert ended.value.code == status
        said = capsys.readouterr()
        assert json.loads(said.out)[0]["synthetic"] is True
        assert said.err.count("\n") == (status == 2)
    with raises(OptionError, argument="files"):
        provenance(config())
