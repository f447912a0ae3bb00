"""`idn swap` as a user meets it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.swap import drawn

SHARED = Path(__file__).parents[3] / "../shared"


@pytest.mark.parametrize(("size", "said"), [(64, False), (96, False), (128, True), (32, True)])
def test_a_size_far_from_that_of_training_is_said(size: int, said: bool, idn_cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Student(describe_encoder(TrainedMobileFaceNet(None, "ffhq")), 0.25)
    save_student(student, tmp_path / "student.safetensors", {"template": "ffhq", "size": "64"})
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "crop.png")
    crops = ["source=crop.png", "target=crop.png", "aligned=true", "out=swap.png"]
    status, _, err = idn_cli("swap", "weights=student.safetensors", *crops, f"size={size}", "device=cpu")
    assert status == 0, err
    assert (f"note: size={size}, but the student was trained on 64 px" in err) == said


def drawn_student(path: Path) -> None:
    torch.manual_seed(0)
    student = Student(describe_encoder(TrainedMobileFaceNet(None, "ffhq")), 0.25)
    save_student(student, path, {"template": "ffhq", "size": "64"})


def test_drawn_faces_are_swapped_where_they_are_said_to_be_drawn(
    idn_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = SHARED / "weights/yunet_final.pth"
    if not weights.is_file():
        pytest.skip("needs yunet_final.pth")
    pytest.importorskip("av", reason="videos need av")
    drawn_student(tmp_path / "student.safetensors")
    monkeypatch.setattr(drawn, "draw_clip", partial(drawn.draw_clip, seconds=0.12))
    words = ["weights=student.safetensors", f"detector.weights={weights}", "runtime=torch", "device=cpu"]
    status, out, err = idn_cli("swap", *words, "drawn=true", "out=new.mp4")
    assert status == 0 and "3 found, 3 swapped" in out, err
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {"new.mp4", "new.source.png", "new.target.mp4"} < made.keys()
    status, out, err = idn_cli("swap", *words, "drawn=true", "out=new.mp4", "overwrite=true")
    assert status == 0 and (tmp_path / "new.target.mp4").stat().st_mtime_ns == made["new.target.mp4"], err
    given = ["source=new.source.png", "target=new.target.mp4", "out=other.mp4"]
    status, _, err = idn_cli("swap", *words, *given)
    assert status == 2 and "drawn=true" in err


def test_an_option_that_cannot_be_is_named(idn_cli, tmp_path: Path) -> None:
    drawn_student(tmp_path / "student.safetensors")
    for word in ("most_yaw=0", "drawn=1"):
        status, _, err = idn_cli("swap", "weights=student.safetensors", "source=a", "target=b", "out=c", word)
        assert status == 2 and word.partition("=")[0] in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out=there.mp4"], "there.mp4 is there already"),
        (["out=new.webm"], "new.webm cannot hold libx264"),
        (["out=new.txt"], "new.txt has the ending of no video"),
        (["out=new.mp4", "encoding.codec=none"], "encoding.codec=none is not in this build"),
        (["out=new.mp4", "weights=gone.safetensors"], "weights=gone.safetensors is not there"),
        (["out=new.mp4", "detector.weights=gone.pth"], "gone.pth"),
        (["out=new.mp4", "faces=everyone"], "faces=everyone"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_drawn(words: list[str], said: str, idn_cli, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="videos need av")
    drawn_student(tmp_path / "student.safetensors")
    (tmp_path / "there.mp4").write_text("a film")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, _, err = idn_cli("swap", "weights=student.safetensors", "drawn=true", "device=cpu", *words)
    assert status == 2 and said in err and "drawing" not in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.mp4").read_text() == "a film"


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("encoding.crf=23", "crop.png"),
        ("+encoding.options.preset=slow", "crop.png"),
        ("following.smooth=false", "crop.png"),
        ("resume=true", "crop.png"),
        ("picture_quality=90", "clip.mp4"),
        ("picture_format=png", "clip.mp4"),
        ("threshold=0.5", "crop.png"),
        ("threshold=0.5", "clip.mp4"),
    ],
)
def test_an_option_without_effect_is_refused(word: str, target: str, idn_cli, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "crop.png")
    (tmp_path / "clip.mp4").write_bytes(b"a video that is never opened")
    files = ["weights=student.safetensors", "source=crop.png", f"target={target}", "out=new"]
    status, _, err = idn_cli("swap", *files, word)
    assert status == 2 and f"{word} has no effect" in err, err


def test_people_who_are_sought_leave_no_choice_of_faces(idn_cli, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "crop.png")
    files = ["weights=student.safetensors", "source=crop.png", "target=crop.png", "out=new.png", "like=crop.png"]
    status, _, err = idn_cli("swap", *files, "faces=all")
    assert status == 2 and "faces=all has no effect beside like" in err


def test_a_folder_may_be_given_options_of_photographs_and_of_videos(idn_cli, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "crop.png")
    files = ["weights=gone.safetensors", "source=crop.png", f"target={tmp_path}", "out=new"]
    status, _, err = idn_cli("swap", *files, "picture_quality=90", "encoding.crf=23")
    assert status == 2 and "gone.safetensors is not there" in err
