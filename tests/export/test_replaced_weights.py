from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, FileError, ForeignFile, MissingFile, UnfitTensors
from idn.export.formats.onnx import OnnxFormat
from idn.export.replaced_weights import PreparedFormat, PreparedOnnx
from idn.students.mobilefaceswap.static import StaticIDN
from idn.students.mobilefaceswap.static_graph import baked
from idn.students.mobilefaceswap.student import Student
from idn.types import Network
from tests.export.conftest import lively_student, student
from tests.raising import raises

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def static(student: Student, identity: int) -> StaticIDN:
    draw = torch.Generator().manual_seed(identity)
    return student.bake(torch.randn(1, 16, generator=draw), torch.rand(1, 32, 7, 7, generator=draw))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "swap.onnx"
    OnnxFormat().write(baked(static(lively_student(), 1), 64), path, "fp32", [])
    return path


def run(path: Path) -> tuple[np.ndarray, ...]:
    target = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    return OnnxFormat().open(path, 1)(target)


def test_another_identity_equals_a_new_export(prepared: Path, tmp_path: Path) -> None:
    other = baked(static(lively_student(), 2), 64)
    OnnxFormat().write(other, tmp_path / "new.onnx", "fp32", [])
    file = PreparedOnnx(prepared)
    file.write(other.module, tmp_path / "folder" / "replaced.onnx")
    assert (file.size, file.precision) == (64, "fp32")
    assert (tmp_path / "folder" / "replaced.onnx").read_bytes() == (tmp_path / "new.onnx").read_bytes()
    before, after = run(prepared), run(tmp_path / "folder" / "replaced.onnx")
    assert np.abs(before[0] - after[0]).max() > 1e-2


@pytest.mark.slow
def test_half_precision_too(tmp_path: Path) -> None:
    OnnxFormat().write(baked(static(lively_student(), 1), 64), tmp_path / "old.onnx", "fp16", [])
    other = baked(static(lively_student(), 2), 64)
    OnnxFormat().write(other, tmp_path / "new.onnx", "fp16", [])
    file = PreparedOnnx(tmp_path / "old.onnx")
    file.write(other.module, tmp_path / "replaced.onnx")
    assert file.precision == "fp16"
    for new, replaced in zip(run(tmp_path / "new.onnx"), run(tmp_path / "replaced.onnx"), strict=True):
        np.testing.assert_allclose(replaced, new, atol=1e-6)


def test_a_file_can_be_replaced_in_place_and_again(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    path.write_bytes(prepared.read_bytes())
    for identity in (2, 1):
        PreparedOnnx(path).write(baked(static(lively_student(), identity), 64).module, path)
    assert path.read_bytes() == prepared.read_bytes()


def test_biases_that_the_exporter_left_out(tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    OnnxFormat().write(baked(static(student(), 1), 64), path, "fp32", [])
    file = PreparedOnnx(path)
    file.write(baked(static(student(), 2), 64).module, tmp_path / "same.onnx")
    with pytest.raises(UnfitTensors) as error:
        file.write(baked(static(lively_student(), 2), 64).module, tmp_path / "biased.onnx")
    assert error.value.missing[0].endswith("bias")
    assert not (tmp_path / "biased.onnx").exists()


def test_a_file_of_another_width_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfitTensors) as error:
        PreparedOnnx(prepared).write(baked(static(lively_student(0.5), 2), 64).module, tmp_path / "out.onnx")
    assert error.value.misshaped
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_other_layers_is_refused(prepared: Path, tmp_path: Path) -> None:
    with raises(UnfitTensors, prepared.name):
        PreparedOnnx(prepared).write(static(lively_student(), 2), tmp_path / "out.onnx")


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, padding=1)

    def forward(self, target: Tensor, identity: Tensor | None = None) -> tuple[Tensor]:
        x = self.conv(target)
        return (x if identity is None else x * identity,)


def tiny(*names: str) -> Network:
    shapes = {"target": (1, 3, 64, 64), "identity": (1, 1, 1, 1)}
    return Network("swap", Tiny().eval(), {name: torch.rand(shapes[name]) for name in names}, ("image",), stride=32)


def test_open_sizes_stay_open(tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    OnnxFormat(dynamic_size=True).write(tiny("target"), path, "fp32", [])
    assert PreparedOnnx(path).size is None


def test_a_quantised_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    calibration = [(np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32),)]
    OnnxFormat().write(tiny("target"), path, "int8", calibration)
    with raises(ForeignFile, path=path):
        PreparedOnnx(path)


def test_a_network_that_takes_an_identity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    OnnxFormat().write(tiny("target", "identity"), path, "fp32", [])
    with raises(ForeignFile, "target, identity", path=path):
        PreparedOnnx(path)


def test_targets_of_another_size_are_refused(prepared: Path, tmp_path: Path) -> None:
    form = PreparedFormat(prepared)
    other = static(lively_student(), 2)
    with raises(FileError, "size=64", path=prepared):
        form.write(baked(other, 96), tmp_path / "swap.onnx", "fp32", [])
    assert list(tmp_path.iterdir()) == [] and form.precisions == ("fp32",) and form.computed_in(True, "fp32") == "fp32"
    form.write(baked(other, 64), tmp_path / "swap.onnx", "fp32", [])
    assert np.abs(run(tmp_path / "swap.onnx")[0] - run(prepared)[0]).max() > 1e-2


def test_a_damaged_file_is_refused(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(prepared.read_bytes()[:3000])
    with raises(DamagedFile, path=tmp_path / "cut.onnx"):
        PreparedOnnx(tmp_path / "cut.onnx")
    with raises(MissingFile, path=tmp_path / "absent.onnx"):
        PreparedOnnx(tmp_path / "absent.onnx")
