"""`idn eval` and `idn compare`: one sentence for what cannot be, names for methods, and a whole evaluation."""

import json
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from idn.cli.entry import _with_name
from idn.cli.options.composition import composed
from idn.cli.verbs.evaluation import _named
from idn.encoders.description import describe_encoder
from idn.encoders.trained import BUNDLED, TrainedMobileFaceNet
from idn.errors import OptionError
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student

FEW = (
    "protocol.pairs=3",
    "protocol.size=64",
    "batch=2",
    "landmarks=null",
    "device=cpu",
    "recogniser=trained",
    f"recogniser.weights={BUNDLED}",
)


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    student = Student(describe_encoder(TrainedMobileFaceNet(None, "ffhq")), width=0.25)
    path = tmp_path / "runs" / "a" / "student.safetensors"
    save_student(student, path, {"template": "ffhq", "size": "64"})
    return path


def test_an_evaluation_leaves_its_report_and_nothing_else(idn_cli, tmp_path: Path, student_file: Path) -> None:
    words = ("eval", "out=out", f"students={{young: {student_file}}}", "teachers=[procedural]", *FEW)
    assert idn_cli(*words)[0] == 2
    assert not (tmp_path / "out").exists()
    status, out, err = idn_cli(*words, "same_recogniser=true", "logger=csv")
    assert status == 0, err
    assert "the recogniser taught young and judges" in " ".join(out.split())
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [m["name"] for m in summary["methods"]] == ["procedural", "young", "target_itself", "truth"]
    assert summary["teacher"] == "procedural" and summary["protocol"]["said"][0].startswith("the recogniser taught")
    assert (tmp_path / "out" / "report.html").is_file() and (tmp_path / "out" / "metrics" / "metrics.csv").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "runs"}
    status, _, err = idn_cli("compare", "out", "out")
    assert status == 2 and "given twice" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval"], "out has no value yet"),
        (["eval", "out=x", "teachers=[simswapp]"], "simswapp is no teacher"),
        (["eval", "out=x", "teachers=[blend]", "baselines=[blend]"], "named twice"),
        (["eval", "out=x", "teachers=[simswap_224]"], "latest_net_G.pth"),
        (["eval", "out=x", "teachers=[onnx]"], "+teacher_options.onnx."),
        (["eval", "out=x", "teachers=[blend]", "+teacher_options.blend.x=1"], "teacher_options.blend.x does not exist"),
        (["eval", "out=x", "+teacher_options.blend.x=1"], "no teacher that is asked"),
        (["eval", "out=x", "results=nowhere"], "neither a folder"),
        (["eval", "out=x", "students=nowhere"], "nowhere"),
        (["eval", "out=x", "protocol=folder", "protocol.root=nowhere"], "protocol.root=nowhere"),
        (["eval", "out=x", "protocol.size=100"], "protocol.size=100"),
        (["compare"], "reports has no value yet"),
        (["compare", "a"], "two reports are the least"),
        (["compare", "a", "b"], "holds no evaluation"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_is_one_sentence(words: list[str], said: str, idn_cli, tmp_path: Path) -> None:
    status, _, err = idn_cli(*words)
    assert status == 2 and said in err and err.count("\n") == 1, err
    assert list(tmp_path.iterdir()) == []


def test_methods_are_called_by_as_little_of_their_paths_as_tells_them_apart() -> None:
    paths = OmegaConf.create(["runs/a/student.safetensors", "runs/b/student.safetensors"])
    assert list(_named(paths, "students")) == ["a/student", "b/student"]
    assert list(_named(OmegaConf.create({"one": "x", "two": "y"}), "students")) == ["one", "two"]
    assert _named(None, "students") == {} and list(_named("dir/x.safetensors", "students")) == ["x"]
    for wrong in (["x", "x"], [["x"], "y"]):
        with pytest.raises(OptionError) as error:
            _named(OmegaConf.create(wrong), "students")
        assert error.value.argument == "students"


def test_folders_of_reports_may_be_typed_bare() -> None:
    assert _with_name("reports", ["a b", "csv=x", 'c"d']) == ['reports=["a b","c\\"d"]', "csv=x"]
    assert _with_name(None, ["a"]) == ["a"] and _with_name("reports", ["reports=[a,b]"]) == ["reports=[a,b]"]


@pytest.mark.parametrize("protocol", ["folder", "celeba_hq", "faceforensics", "videos"])
def test_photographs_are_judged_by_dlib_unless_another_is_asked(protocol: str) -> None:
    words = ["out=x", f"protocol={protocol}"]
    assert composed("eval", words)[0].recogniser["_target_"].endswith("DlibEncoder")
    assert composed("eval", [*words, "recogniser=arcface"])[0].recogniser["_target_"].endswith("ArcFaceEncoder")


def test_drawn_faces_are_judged_by_an_encoder_that_never_teaches() -> None:
    assert composed("eval", ["out=x"])[0].recogniser["_target_"].endswith("ProceduralRecogniser")


def test_without_dlib_drawn_faces_are_judged_without_landmarks_and_photographs_not_at_all(
    idn_cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    few = [word for word in FEW if not word.startswith(("landmarks", "recogniser"))]
    status, out, err = idn_cli("eval", "out=out", *few)
    assert status == 0, err
    assert "no landmarks: 68 landmarks and dlib's recogniser need dlib: `pip install '.[eval]'`" in " ".join(
        out.split()
    )
    status, _, err = idn_cli("eval", "out=other", "recogniser=dlib", *few)
    assert status == 2 and ".[eval]" in err and err.count("\n") == 1


def test_an_evaluation_without_a_recogniser_is_refused(idn_cli) -> None:
    status, out, err = idn_cli("eval", "out=report", "protocol.pairs=2", "recogniser=null")
    assert status == 2 and "recogniser=null leaves nobody" in err and len((out + err).strip().splitlines()) == 1


def test_what_is_missing_at_the_end_is_told_at_the_beginning_and_other_files_stay_alone(
    idn_cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    status, _, err = idn_cli("eval", "out=out", "logger=tensorboard", *FEW)
    assert status == 2 and ".[tensorboard]" in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    status, _, err = idn_cli("eval", "out=photos", *FEW)
    assert status == 2 and "out=photos" in err and "a.jpg" in err and err.count("\n") == 1
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("verb", ["eval", "train"])
@pytest.mark.parametrize("folder", ["file", "file/deeper"])
def test_a_file_where_a_folder_should_be_is_told(idn_cli, verb: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    option = "out" if verb == "eval" else "hydra.run.dir"
    status, _, err = idn_cli(verb, f"{option}={folder}")
    assert status == 2 and f"{option}={folder}" in err and err.count("\n") == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "mine")]
