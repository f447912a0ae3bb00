import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from idn.errors import DamagedFile, MissingExtra, UserError
from idn.export.converters import environment
from idn.export.formats.litert import LiteRTFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import student
from tests.raising import raises

pytest.importorskip("ai_edge_litert")


def converter_is_there() -> bool:
    try:
        environment.interpreter("litert")
    except UserError:
        return False
    return True


converts = pytest.mark.skipif("not converter_is_there()", reason="needs `idn install-converter name=litert`")


def written_by_hand(path: Path) -> None:
    """A file with a map (1, 2, 4, 3) and a vector (1, 3) -> the sigmoid of the vector, and map times vector."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    shapes = {"map": (1, 2, 4, 3), "vector": (1, 3), "weighted": (1, 2, 4, 3), "squashed": (1, 3)}
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = []
    for name, shape in shapes.items():
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    graph.operators, model.operatorCodes = [], []
    for index, (kind, takes, gives) in enumerate((("MUL", [0, 1], [2]), ("LOGISTIC", [1], [3]))):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        operator.opcodeIndex, operator.inputs, operator.outputs = index, takes, gives
        if kind == "MUL":
            operator.builtinOptionsType, operator.builtinOptions = (
                schema.BuiltinOptions.MulOptions,
                schema.MulOptionsT(),
            )
        graph.operators.append(operator)
        model.operatorCodes.append(code)
    graph.inputs, graph.outputs = [0, 1], [3, 2]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def test_a_runner_takes_and_gives_maps_as_pytorch_does(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written_by_hand(tmp_path / "hand.tflite")
    run = LiteRTFormat().open(tmp_path / "hand.tflite", threads=2)
    x, v = np.random.default_rng(0).random((1, 3, 2, 4), np.float32), np.array([[1, -2, 3]], np.float32)
    squashed, weighted = run(x, v)
    np.testing.assert_allclose(squashed, 1 / (1 + np.exp(-v)), rtol=1e-6)
    np.testing.assert_allclose(weighted, x * v[:, :, None, None], rtol=1e-6)
    run(x + 1, v)
    np.testing.assert_allclose(weighted, x * v[:, :, None, None], rtol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "hand.tflite"
    written_by_hand(path)
    whole = path.read_bytes()
    content = {"empty": b"", "cut": whole[: len(whole) // 2], "other": b"something else that is long enough"}
    path.unlink() if damage == "missing" else path.write_bytes(content[damage])
    with raises(DamagedFile, path=path):
        LiteRTFormat().open(path, 1)


def test_what_is_missing_is_named(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.FOLDER, str(tmp_path / "nowhere"))
    monkeypatch.setattr(environment, "_installed", lambda package: "")
    with raises(UserError, "`idn install-converter name=litert`"):
        LiteRTFormat().write(network, tmp_path / "out" / "swap.tflite", "fp32", [])
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with raises(MissingExtra, extra="litert"):
        LiteRTFormat()


class Split(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.sigmoid(), x[:, :1]


def split(name: str) -> Network:
    return Network(name, Split(), {"target": torch.rand(1, 3, 8, 8)}, ("image", "mask"), per_frame=name == "swap")


def test_the_worker_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def worker(name: str, request: dict[str, object]) -> None:
        folder = Path(request["folder"])
        calibration = folder / "calibration.npz"
        samples = dict(np.load(calibration)) if calibration.exists() else None
        seen.append((name, request["inputs"], request["outputs"], request["bits"], samples))
        Path(request["path"]).write_text("written")

    monkeypatch.setattr(environment, "convert", worker)
    monkeypatch.setattr(environment, "interpreter", lambda name: Path())
    crops = [(np.full((1, 3, 8, 8), value, np.float32),) for value in (0.25, 0.75)]
    for name, precision in (("swap", "fp32"), ("swap", "fp16"), ("swap", "int8"), ("encoder", "int8")):
        LiteRTFormat().write(split(name), tmp_path / "new" / "x.tflite", precision, crops)
    assert {entry[:1] + tuple(map(str, entry[1:3])) for entry in seen} == {
        ("litert", "{'target': [1, 3, 8, 8]}", "['image', 'mask']")
    }
    assert [bits for *_, bits, _ in seen] == [32, 16, 8, 8]
    assert [samples is not None for *_, samples in seen] == [False, False, True, False]
    np.testing.assert_array_equal(seen[2][-1]["target"], np.concatenate([crop for (crop,) in crops]))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.tflite"]


def test_a_failed_conversion_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worker(name: str, request: dict[str, object]) -> None:
        Path(request["path"]).write_text("half")
        raise UserError("the converter failed")

    monkeypatch.setattr(environment, "convert", worker)
    monkeypatch.setattr(environment, "interpreter", lambda name: Path())
    (tmp_path / "swap.tflite").write_text("before")
    with pytest.raises(UserError, match="the converter failed"):
        LiteRTFormat().write(split("swap"), tmp_path / "swap.tflite", "fp32", [])
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


@converts
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "floor"), [("fp32", 100), ("fp16", 60), ("int8", 40)])
def test_a_baked_network_is_the_same_there(
    network: Network, crops: list, tmp_path: Path, precision: str, floor: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path, form = tmp_path / "swap.tflite", LiteRTFormat()
    form.write(network, path, precision, crops)
    run = form.open(path, 1)
    parity = compare(network, run, crops, reference(network, crops))
    assert parity.psnr > floor and (precision != "fp32" or parity.max_abs < 1e-4)
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["swap.tflite"]
    parts = run.interpreter.get_signature_list()["serving_default"]
    assert parts["inputs"] == ["target"] and sorted(parts["outputs"]) == ["image", "mask"]
    assert path.stat().st_size < {"fp32": 200_000, "fp16": 120_000, "int8": 110_000}[precision]


@converts
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_dynamic_networks_are_the_same_there(precision: str, tmp_path: Path) -> None:
    form = LiteRTFormat()
    for network in dynamic(student(), 64, form.runtime_kernels):
        inputs = [tuple(value.numpy() for value in network.inputs.values())]
        path = tmp_path / f"{network.name}.tflite"
        form.write(network, path, precision, inputs)
        parity = compare(network, form.open(path, 1), inputs, reference(network, inputs))
        assert parity.psnr > {"fp32": 100, "int8": 40}[precision]


@converts
@pytest.mark.slow
def test_a_layer_that_the_converter_lacks_is_named(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.linalg.svdvals(x[0, 0])[None],)

    with raises(UserError, "format litert", "svd"):
        LiteRTFormat().write(Network("odd", Odd(), {"x": torch.rand(1, 1, 4, 4)}, ("y",)), tmp_path / "o", "fp32", [])
    assert not list(tmp_path.iterdir())
