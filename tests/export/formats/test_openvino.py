import importlib.util
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, MissingExtra, MissingFile, UserError
from idn.export.contract import Arrays
from idn.export.formats.openvino import OpenVinoFormat
from idn.export.parity import Parity, compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import lively_student as student
from tests.raising import raises

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")


class Tiny(nn.Module):
    """Wide enough for int8 to find something, and quick to convert."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.sigmoid(self.second(torch.relu(self.first(target))))
        return target + x[:, :1] * (x[:, 1:4] - target), x[:, :1]


def tiny() -> Network:
    module = Tiny().requires_grad_(False).eval()
    return Network("swap", module, {"target": torch.rand(1, 3, 64, 64)}, ("image", "mask"))


@pytest.fixture(scope="module")
def network(lively: Network) -> Network:
    """The exporter leaves out biases that are all zero: this one has none."""
    return lively


@pytest.fixture(scope="module")
def written(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openvino") / "new" / "swap.xml"
    OpenVinoFormat().write(network, path, "fp32", [])
    return path


def found(network: Network, path: Path, crops: list[Arrays]) -> Parity:
    return compare(network, OpenVinoFormat().open(path, 1), crops, reference(network, crops))


def test_a_pair_of_files_computes_what_pytorch_computes(network: Network, written: Path, crops: list[Arrays]) -> None:
    assert {p.name for p in written.parent.iterdir()} == {"swap.xml", "swap.bin"}
    assert found(network, written, crops).max_abs <= 1e-4
    model = openvino.Core().read_model(written)
    assert [v.get_any_name() for v in (*model.inputs, *model.outputs)] == ["target", "image", "mask"]
    assert [list(v.shape) for v in model.outputs] == [[1, 3, 64, 64], [1, 1, 64, 64]]


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_network_always_gives_the_same_files(tmp_path: Path, crops: list[Arrays], precision: str) -> None:
    one, two = tmp_path / "one.xml", tmp_path / "two.xml"
    for path in (one, two):
        OpenVinoFormat().write(tiny(), path, precision, crops)
    assert one.read_bytes() == two.read_bytes()
    assert one.with_suffix(".bin").read_bytes() == two.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize(("precision", "least", "share"), [("fp16", 60, 0.6), ("bf16", 40, 1.0), ("int8", 35, 0.6)])
def test_other_precisions_come_close(
    crops: list[Arrays], tmp_path: Path, precision: str, least: float, share: float
) -> None:
    OpenVinoFormat().write(tiny(), tmp_path / "whole.xml", "fp32", [])
    OpenVinoFormat().write(tiny(), tmp_path / "swap.xml", precision, crops)
    assert found(tiny(), tmp_path / "swap.xml", crops).psnr > least
    weights = [(tmp_path / name).stat().st_size for name in ("swap.bin", "whole.bin")]
    assert weights[0] <= share * weights[1]


@pytest.mark.slow
def test_int8_of_a_whole_network_comes_close(network: Network, crops: list[Arrays], tmp_path: Path) -> None:
    OpenVinoFormat().write(network, tmp_path / "swap.xml", "int8", crops)
    assert 30 < found(network, tmp_path / "swap.xml", crops).psnr < 80
    integers = (tmp_path / "swap.xml").read_text().count('element_type="i8"')
    OpenVinoFormat().write(network._replace(delicate=()), tmp_path / "all.xml", "int8", crops)
    assert 8 <= integers < (tmp_path / "all.xml").read_text().count('element_type="i8"') - 8


@pytest.mark.parametrize(("precision", "hint"), [("fp32", "f32"), ("fp16", "f32"), ("bf16", "bf16"), (None, "f32")])
def test_a_file_says_what_it_is_computed_in(
    written: Path, tmp_path: Path, precision: str | None, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "swap.xml", {}
    said = '<precision value="fp32" />'
    path.write_text(written.read_text().replace(said, "" if precision is None else said.replace("fp32", precision)))
    path.with_suffix(".bin").write_bytes(written.with_suffix(".bin").read_bytes())
    compile_model = openvino.Core.compile_model

    def watched(core: object, model: object, device: str, settings: dict) -> object:
        seen.update(settings)
        return compile_model(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    OpenVinoFormat().open(path, 3)
    assert (seen["INFERENCE_PRECISION_HINT"], seen["INFERENCE_NUM_THREADS"], seen["NUM_STREAMS"]) == (hint, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_dynamic_product_runs_there(tmp_path: Path, precision: str) -> None:
    for network in dynamic(student(), 64, OpenVinoFormat().runtime_kernels):
        path, example = tmp_path / f"{network.name}.xml", tuple(x.numpy() for x in network.inputs.values())
        OpenVinoFormat().write(network, path, precision, [example])
        parity = found(network, path, [example])
        assert parity.max_abs <= 1e-4 if precision == "fp32" else parity.psnr > 20


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else object())
    with raises(MissingExtra, "nncf", extra="openvino"):
        OpenVinoFormat()


def test_damaged_and_lone_files_are_refused(written: Path, tmp_path: Path) -> None:
    graph, weights = written.read_bytes(), written.with_suffix(".bin").read_bytes()
    damaged = {"cut": (graph[:4000], weights), "short": (graph, weights[:1000]), "text": (b"<html>", weights)}
    for name, (xml, data) in damaged.items():
        path = tmp_path / f"{name}.xml"
        path.write_bytes(xml)
        path.with_suffix(".bin").write_bytes(data)
        with raises(DamagedFile, path=path):
            OpenVinoFormat().open(path, 1)
    path.with_suffix(".bin").unlink()
    with raises(MissingFile, path=path.with_suffix(".bin")):
        OpenVinoFormat().open(path, 1)


class Branch(nn.Module):
    def forward(self, target: Tensor) -> tuple[Tensor]:
        return (target if target.sum() > 0 else -target,)


def test_failures_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raises(UserError, "swap", "OpenVINO"):
        OpenVinoFormat().write(tiny()._replace(module=Branch(), outputs=("image",)), tmp_path / "swap.xml", "fp32", [])

    def half_done(model: object, path: Path, compress_to_fp16: bool) -> None:
        path.with_suffix(".bin").write_bytes(b"weights")
        raise OSError("disk full")

    monkeypatch.setattr(openvino, "save_model", half_done)
    with pytest.raises(OSError, match="disk full"):
        OpenVinoFormat().write(tiny(), tmp_path / "swap.xml", "fp32", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "int8"])
def test_nobody_is_told(crops: list[Arrays], tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = pytest.importorskip("openvino_telemetry.utils.sender")
    sent = []
    monkeypatch.setattr(telemetry.TelemetrySender, "send", lambda *message: sent.append(message))
    monkeypatch.delenv("CI", raising=False)
    OpenVinoFormat().write(tiny(), tmp_path / "swap.xml", precision, crops)
    assert sent == []
    assert "CI" not in os.environ


def test_the_runtime_says_its_version() -> None:
    assert OpenVinoFormat().runtime() == f"OpenVINO {openvino.__version__.split('-')[0]}"
