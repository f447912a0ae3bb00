import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, MissingExtra, MissingFile, OptionError, UserError
from idn.export.contract import Arrays
from idn.export.formats.onnx import OnnxFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import lively_student as student
from tests.raising import raises

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Smaller = Callable[[str], Path]


@pytest.fixture(scope="module")
def network(lively: Network) -> Network:
    """The exporter leaves out biases that are all zero: this one has none."""
    return lively


@pytest.fixture(scope="module")
def written(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "new" / "swap.onnx"
    OnnxFormat().write(network, path, "fp32", [])
    return path


def targets(*shapes: tuple[int, ...]) -> list[Arrays]:
    return [(np.random.default_rng(seed).random(shape, dtype=np.float32),) for seed, shape in enumerate(shapes)]


CROPS = targets(*[(1, 3, 64, 64)] * 4)


@pytest.fixture(scope="module")
def smaller(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Smaller:
    """The network in another precision, calibrated with CROPS."""

    @cache
    def made(precision: str) -> Path:
        path = tmp_path_factory.mktemp(precision) / "swap.onnx"
        OnnxFormat().write(network, path, precision, CROPS)
        return path

    return made


def dimensions(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(path).graph
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.output)
    }


def test_a_file_computes_what_pytorch_computes(network: Network, written: Path) -> None:
    crops = targets((1, 3, 64, 64), (1, 3, 64, 64))
    parity = compare(network, OnnxFormat().open(written, 1), crops, reference(network, crops))
    assert parity.max_abs <= 1e-4
    assert dimensions(written) == {"target": [1, 3, 64, 64], "image": [1, 3, 64, 64], "mask": [1, 1, 64, 64]}


def test_weights_keep_the_names_of_the_module(network: Network, written: Path) -> None:
    initializers = {tensor.name for tensor in onnx.load(written).graph.initializer}
    assert set(network.module.state_dict()) <= initializers


def test_a_file_says_its_maker_and_nothing_of_the_machine(network: Network, written: Path, tmp_path: Path) -> None:
    model = onnx.load(written)
    assert (model.producer_name, model.opset_import[0].version) == ("idn-distill", 18)
    assert str(Path(__file__).parents[3]).encode() not in written.read_bytes()
    OnnxFormat().write(network, tmp_path / "again.onnx", "fp32", [])
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


@pytest.mark.parametrize(("precision", "least", "share"), [("fp16", 50, 0.6), ("int8", 30, 0.7)])
def test_smaller_precisions_come_close(
    network: Network, written: Path, smaller: Smaller, precision: str, least: float, share: float
) -> None:
    path = smaller(precision)
    parity = compare(network, OnnxFormat().open(path, 1), CROPS, reference(network, CROPS))
    assert least < parity.psnr < 100
    assert path.stat().st_size < share * written.stat().st_size
    assert all(v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for v in onnx.load(path).graph.input)


def test_int8_leaves_alone_what_the_mask_hangs_on(network: Network, smaller: Smaller) -> None:
    path, crops = smaller("int8"), CROPS
    mask, right = OnnxFormat().open(path, 1)(*crops[0])[1], reference(network, crops)[0][1]
    assert -10 * np.log10(np.square(mask - right).mean()) > 35  # their kernels alone are rounded
    rounding = {node.input[0] for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"}
    read = {node.input[1]: node.input[0] for node in onnx.load(path).graph.node if node.op_type == "Conv"}
    assert rounding and read["encoder.1.0.weight"] not in rounding
    assert not {"decoder.1.1.weight", "decoder.1.2.weight"} & read.keys()  # their kernels come from integers


def test_batch_and_size_may_stay_open(network: Network, tmp_path: Path) -> None:
    path, form = tmp_path / "swap.onnx", OnnxFormat(dynamic_batch=True, dynamic_size=True)
    form.write(network, path, "fp32", [])
    shape = ["batch", 3, "height", "width"]
    assert dimensions(path) == {"target": shape, "image": shape, "mask": ["batch", 1, "height", "width"]}
    for crops in targets((1, 3, 32, 32), (2, 3, 96, 160), (3, 3, 224, 224)):
        parity = compare(network, form.open(path, 1), [crops], reference(network, [crops]))
        # open sizes are enlarged by coordinates computed in single precision, which single pixels of rough maps show
        assert parity.psnr > 100 and parity.max_abs <= 1e-3


@pytest.mark.parametrize("options", [{}, pytest.param({"dynamic_batch": True}, marks=pytest.mark.slow)])
def test_the_dynamic_product_is_the_same_there(tmp_path: Path, options: dict) -> None:
    form = OnnxFormat(**options)
    injection, swap = dynamic(student(), 64, form.runtime_kernels)
    for network in (injection, swap):
        path = tmp_path / f"{network.name}.onnx"
        form.write(network, path, "fp32", [])
        batched = {
            k: x.repeat(2, *[1] * (x.ndim - 1)) if options and k != "identity" else x for k, x in inputs(network)
        }
        example = tuple(x.numpy() for x in batched.values())
        parity = compare(network, form.open(path, 1), [example], reference(network, [example]))
        assert parity.max_abs <= 1e-4
        assert [name for name in dimensions(path)] == [*network.inputs, *network.outputs]


def inputs(network: Network) -> list[tuple[str, Tensor]]:
    return list(network.inputs.items())


@pytest.fixture(scope="module")
def small() -> Network:
    """Some of what a student is made of, exported in a moment."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)

        def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
            wide = nn.functional.interpolate(
                nn.functional.leaky_relu(self.first(target)), scale_factor=2.0, mode="bilinear", align_corners=True
            )
            out = torch.sigmoid(self.last(wide))
            return out[:, :3], out[:, 3:]

    module = Small().eval().requires_grad_(False)
    return Network("swap", module, {"target": torch.rand(1, 3, 64, 64)}, ("image", "mask"))


@pytest.mark.parametrize("made", ["small", pytest.param("network", marks=pytest.mark.slow)])
def test_another_operator_set(made: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    network: Network = request.getfixturevalue(made)
    path, form, crops = tmp_path / "swap.onnx", OnnxFormat(opset=23), targets((1, 3, 64, 64))
    form.write(network, path, "fp32", [])
    assert onnx.load(path).opset_import[0].version == 23
    assert compare(network, form.open(path, 1), crops, reference(network, crops)).max_abs <= 1e-4


@pytest.mark.parametrize("opset", [11, 17, 24])
def test_an_operator_set_out_of_range_is_refused_at_once(opset: int) -> None:
    with raises(OptionError, "18", "23", argument="opset", value=opset):
        OnnxFormat(opset=opset)


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with raises(MissingExtra, "onnxscript", extra="onnx"):
        OnnxFormat()


def test_a_damaged_file_is_refused(written: Path, tmp_path: Path) -> None:
    for name, content in {"cut.onnx": written.read_bytes()[:5000], "text.onnx": b"<html>", "empty.onnx": b""}.items():
        (tmp_path / name).write_bytes(content)
        with raises(DamagedFile, path=tmp_path / name):
            OnnxFormat().open(tmp_path / name, 1)
    with raises(MissingFile, path=tmp_path / "absent.onnx"):
        OnnxFormat().open(tmp_path / "absent.onnx", 1)


class Branch(nn.Module):
    def forward(self, target: Tensor) -> tuple[Tensor]:
        return (target if target.sum() > 0 else -target,)


def test_what_cannot_be_traced_leaves_the_old_file(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "swap.onnx"
    path.write_bytes(b"old")
    branching = replace_module(network, Branch())
    with raises(UserError, "swap", "ONNX"):
        OnnxFormat().write(branching, path, "fp32", [])
    assert [p.name for p in tmp_path.iterdir()] == ["swap.onnx"]
    assert path.read_bytes() == b"old"


def replace_module(network: Network, module: nn.Module) -> Network:
    return network._replace(module=module, outputs=("image",))


def test_a_graph_that_fails_the_check_is_not_written(
    small: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(onnx.checker.ValidationError):
        OnnxFormat().write(small, tmp_path / "swap.onnx", "fp32", [])
    assert list(tmp_path.iterdir()) == []


def test_formats_are_values() -> None:
    assert replace(OnnxFormat(), opset=20) == OnnxFormat(20)
    assert OnnxFormat().runtime().startswith("ONNX Runtime 1.")
