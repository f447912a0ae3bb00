"""`idn export`, `idn bench` and `idn install-converter` as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data.alignment import detector
from idn.data.alignment.detector import Face
from idn.encoders.trained import TrainedMobileFaceNet
from idn.export.formats.onnx import OnnxFormat
from idn.geometry.templates import template_points
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student, save_student
from idn.types import EncoderDescription

pytest.importorskip("onnxruntime")
Run = Callable[..., tuple[int, str, str]]
SHARED = Path(__file__).parents[3] / "../shared"
FACES, YUNET = SHARED / "data/faces", SHARED / "weights/yunet_final.pth"
ENCODER = "MobileFaceNet procedural_mobilefacenet"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one, of the encoder that comes with the package."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    student = Student(EncoderDescription(128, 512, 7, ENCODER), 0.25)
    save_student(student, path, {"template": "ffhq", "size": "32"})
    return path


@pytest.fixture
def crop(tmp_path: Path) -> Path:
    path = tmp_path / "crop.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


def test_the_size_of_the_target_is_said_once(idn_cli, student: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown.safetensors"
    save_student(load_student(student), unknown, {"template": "ffhq"})
    for words, said in (
        ([f"weights={student}", "data.size=64"], "data.size=64 is no option here: say size=64"),
        ([f"weights={unknown}"], "must be given: the student's file does not tell it"),
    ):
        status, _, err = idn_cli("export", *words, "source=none", "out=new")
        assert status == 2 and said in err, err
    assert not (tmp_path / "new").exists()


def test_one_person_becomes_a_file_and_another_takes_its_place(
    idn_cli, student: Path, crop: Path, tmp_path: Path
) -> None:
    common = (f"weights={student}", "aligned=true", "crops=2")
    status, out, err = idn_cli("export", *common, f"source={crop}", "out=first", "keep_identity=true")
    assert status == 0 and "swap.onnx" in out, err
    card = json.loads((tmp_path / "first/card.json").read_text())
    assert card["product"] == "baked" and card["size"] == 32 and card["template"]["name"] == "ffhq"
    again = ("source=first/identity.safetensors", "out=second", "prepared=first/swap.onnx")
    status, out, err = idn_cli("export", *common, *again)
    assert status == 0, err
    target = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    answers = [OnnxFormat().open(tmp_path / name / "swap.onnx", 1)(target)[0] for name in ("first", "second")]
    assert np.abs(answers[0] - answers[1]).max() < 1e-6
    pixels = torch.from_numpy(np.array(Image.open(crop))).permute(2, 0, 1)[None] / 255
    who = TrainedMobileFaceNet(None, "ffhq")(pixels)
    with torch.no_grad():
        expected = load_student(student).eval()(torch.from_numpy(target), who).image.numpy()
    assert np.abs(answers[0] - expected).max() < 1e-4


@pytest.mark.parametrize(("size", "said"), [(32, False), (64, True)])
def test_a_size_far_from_that_of_training_is_said(
    size: int, said: bool, idn_cli, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idn.export.export.export", lambda *args: None)
    monkeypatch.setattr("idn.export.bench.bench.bench", lambda **options: None)
    for words in (("export", "source=none", "out=DIR", "crops=1"), ("bench",)):
        status, _, err = idn_cli(*words, f"weights={student}", f"size={size}")
        assert status == 0 and ("trained on 32 px" in err) == said, err


def test_bad_input_gets_one_sentence(idn_cli, student: Path, crop: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = {
        ("source=missing.png",): "source=missing.png is not a file",
        (): "give source=PHOTO, or source=none",
        ("source=none", "precision=fp8"): "precision=fp8 is unknown",
        (f"source={crop}", "size=100"): "size=100 is not divisible by 32",
        (f"source={crop}", "size=0"): "size=0 is no number of pixels: take 32",
        (f"source={crop}", "format=tensorrt"): "there is no format=tensorrt: choose of aotinductor, coreml",
        (f"source={crop}", "format.onnx.opset=9"): "format.onnx.opset=9 is not supported",
        (f"source={crop}", "format=[]"): "format=[] names no format",
        (f"source={crop}", "precision=[fp8]"): "precision=fp8 is unknown",
        (f"source={crop}", "precision=[bf16]"): "precision=bf16 is none of onnx: choose of fp32",
        (f"source={crop}", "aligned=true", "out=file/inside"): "cannot be written",
        ("source=none", "prepared=swap.onnx"): "prepared=FILE wants a new person",
        (f"source={crop}", "prepared=swap.onnx"): "swap.onnx",
    }
    if YUNET.is_file():
        cases[f"source={crop}", f"detector.weights={YUNET}", "encoder.photographs=true"] = "shows no face"
    for words, sentence in cases.items():
        status, _, err = idn_cli("export", f"weights={student}", "out=out", *words)
        assert status == 2 and sentence in err and len(err.strip().splitlines()) == 1, (words, err)
    status, _, err = idn_cli("export", f"weights={crop}", "source=none", "out=out")
    assert status == 2 and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    status, _, err = idn_cli("bench", "folder=nowhere")
    assert status == 2 and "card.json is missing" in err
    status, _, err = idn_cli("bench", "threads=0", "precision=fp32")
    assert status == 2 and "threads=[0] must be whole numbers" in err
    status, _, err = idn_cli("install-converter", "name=magic")
    assert status == 2 and "litert" in err


class OneFace:
    """A detector that finds one large face, upright, on any photograph."""

    def __init__(self, weights: str | None = None) -> None:
        pass

    def __call__(self, photo: torch.Tensor) -> list[Face]:
        side = min(photo.shape[-2:])
        corners = torch.tensor([0, 0, side, side], dtype=torch.float64)
        return [Face(corners, template_points("ffhq").double() * side, 1.0)]


def refuses_the_photograph(run: Run, student: Path, photo: Path, out: Path, *options: str) -> None:
    """That a photograph is refused for an encoder of drawn faces, and is taken as soon as the user insists."""
    common = ("export", f"weights={student}", f"source={photo}", "out=out", "crops=1", *options)
    status, _, err = run(*common)
    assert status == 2 and len(err.strip().splitlines()) == 1, err
    assert f"source={photo} is a photograph" in err and "knows drawn faces only" in err
    assert "aligned=true" in err and "encoder.photographs=true" in err and not out.exists()
    status, _, err = run(*common, "encoder.photographs=true", "format=[safetensors]")
    assert status == 0 and (out / "card.json").is_file(), err


def test_a_photograph_is_refused_by_an_encoder_of_drawn_faces(
    idn_cli: Run, student: Path, crop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = idn_cli("export", f"weights={student}", f"source={crop}", "out=out", "detector.weights=absent.pth")
    assert status == 2 and "knows drawn faces only" in err and "absent.pth" not in err
    monkeypatch.setattr(detector, "YuNetDetector", OneFace)
    refuses_the_photograph(idn_cli, student, crop, tmp_path / "out")


@pytest.mark.skipif(not FACES.is_dir() or not YUNET.is_file(), reason="the shared portraits and weights are not here")
def test_a_real_portrait_is_refused_by_an_encoder_of_drawn_faces(idn_cli: Run, student: Path, tmp_path: Path) -> None:
    photo = sorted(path for path in FACES.iterdir() if path.suffix in (".jpg", ".png"))[0]
    refuses_the_photograph(idn_cli, student, photo.resolve(), tmp_path / "out", f"detector.weights={YUNET}")


def test_a_missing_extra_is_named(idn_cli, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else known(name, *rest)
    )
    status, _, err = idn_cli("export", f"weights={student}", "source=none", "out=out", "format=[openvino]")
    assert status == 2 and "pip install '.[openvino]'" in err
