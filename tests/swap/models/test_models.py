"""Students, teachers and exported files as models: the same picture from a student and from its ONNX files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.errors import EncoderMismatch, FileError, MissingExtra, OptionError, UserError
from idn.students.student_file import save_student
from idn.swap import runtimes
from idn.swap.models.exported import ExportedModel
from idn.swap.models.student import open_student
from idn.swap.models.teacher import TeacherModel
from idn.swap.photo import Source, Swapping, swap_photo
from idn.types import IdentityFeatures, SwapBatch
from tests.conftest import TinyEncoder
from tests.export.conftest import student as sensible
from tests.raising import raises
from tests.swap.parts import Found, face
from tests.swap.test_photo import smooth

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the bundled encoder that answers with more than noise."""
    made = sensible(encoder=describe_encoder(TrainedMobileFaceNet(None, "ffhq")))
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    save_student(made, path, {"template": "ffhq", "size": "64", "teacher": "nobody"})
    return path


@pytest.fixture(scope="module")
def crop() -> torch.Tensor:
    return torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), 64)[0]


def swapped(model: object, crop: torch.Tensor) -> np.ndarray:
    """A photograph with the face of `crop`."""
    who = None if model.fixed else model.look(crop[None])
    swapping = Swapping(model, [Source(model.person(who, None if model.fixed else crop), who)])
    return swap_photo(smooth(), Found([face(60, 40, 110)]), swapping).pixels.numpy()


@pytest.fixture(scope="module")
def expected(file: Path, crop: torch.Tensor) -> np.ndarray:
    return swapped(open_student(file, TrainedMobileFaceNet(None, "ffhq"), CPU), crop)


def differing(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_every_runtime_gives_the_picture_of_pytorch(
    runtime: str, file: Path, crop: torch.Tensor, expected: np.ndarray
) -> None:
    for module in {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "nncf")}[runtime]:
        pytest.importorskip(module, reason=f"runtime={runtime} needs {module}")
    assert (expected != smooth().numpy()).mean() > 0.05
    assert differing(swapped(open_student(file, TrainedMobileFaceNet(None, "ffhq"), CPU, runtime), crop), expected) <= 1


@pytest.mark.parametrize("product", [pytest.param("baked", marks=pytest.mark.slow), "dynamic"])
def test_an_exported_student_gives_the_picture_of_the_student(
    product: str, file: Path, crop: torch.Tensor, expected: np.ndarray, tmp_path: Path, idn_cli
) -> None:
    pytest.importorskip("onnxruntime", reason="the exported files need onnxruntime")
    from idn.files.photos import write_photo
    from idn.images import to_uint8

    write_photo(tmp_path / "crop.png", to_uint8(crop), 95)
    who = f"source={tmp_path / 'crop.png'}" if product == "baked" else "source=none"
    out = tmp_path / "out"
    status, _, err = idn_cli("export", f"weights={file}", who, "aligned=true", f"out={out}", "crops=1", "data.batch=2")
    assert status == 0, err
    for path in (out, out / "swap.onnx"):
        model = ExportedModel(path, run_programs=False)
        assert (model.template, model.size, model.fixed) == ("ffhq", 64, product == "baked")
        assert model.notes["teacher"] == "nobody"
        assert differing(swapped(model, crop), expected) <= 1
    with raises(OptionError, argument="weights"):
        ExportedModel(out / "card.md", run_programs=False)
    if product == "baked":
        with raises(UserError, "leave source out"):
            model.person(IdentityFeatures(torch.zeros(1, 1), torch.zeros(1, 1, 1, 1)), None)


def test_a_file_without_its_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "swap.onnx").write_bytes(b"")
    with raises(FileError, "card.json", path=tmp_path / "swap.onnx"):
        ExportedModel(tmp_path / "swap.onnx", run_programs=False)


class Half:
    """A teacher that answers half target, half source, and remembers what it was told."""

    class record:
        name, licence = "half", "none"

    def named_parameters(self) -> list:
        return []

    named_buffers = modules = named_parameters

    def __call__(self, batch: SwapBatch, source: IdentityFeatures) -> torch.Tensor:
        assert len(source.embedding) == len(batch.target) and batch.source.shape == batch.target.shape
        return (batch.target + batch.source) / 2


def test_a_teacher_is_a_model_without_a_mask(crop: torch.Tensor) -> None:
    model = TeacherModel("half", Half(), TinyEncoder(), "ffhq", 64, CPU)
    out = model.person(model.look(crop[None]), crop)(torch.zeros(3, 3, 64, 64))
    assert out.mask is None
    torch.testing.assert_close(out.image, (crop / 2).expand(3, -1, -1, -1))
    with raises(UserError, "source=PHOTO"):
        model.person(model.look(crop[None]), None)
    assert (swapped(model, crop) != smooth().numpy()).any()


def test_wrong_encoders_sizes_and_runtimes_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raises(EncoderMismatch, given="tiny"):
        open_student(file, TinyEncoder(), CPU)
    with raises(UserError, "arcface_112_v2"):
        open_student(file, TrainedMobileFaceNet(None, "arcface_112_v2"), CPU)
    with raises(OptionError, argument="size"):
        open_student(file, TrainedMobileFaceNet(None, "ffhq"), CPU, size=50)
    with raises(OptionError, argument="runtime"):
        runtimes.chosen_runtime("tensorrt", CPU)
    with raises(OptionError, argument="runtime"):
        runtimes.chosen_runtime("onnx", torch.device("cuda"))
    monkeypatch.setattr(runtimes, "_installed", lambda name: False)
    assert runtimes.chosen_runtime("auto", CPU) == "torch"
    with raises(MissingExtra, extra="openvino"):
        runtimes.chosen_runtime("openvino", CPU)
