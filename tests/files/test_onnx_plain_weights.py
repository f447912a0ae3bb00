"""Weights that a file keeps in eight bits, against ONNX Runtime, which computes the same nodes."""

import numpy as np
import pytest

from idn.errors import DamagedFile
from idn.files.onnx_graph import read_onnx
from idn.files.onnx_plain_weights import plain_weights
from tests.raising import raises

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DRAW = np.random.default_rng(0)


def save(path, arrays, attributes, shape, kind="DequantizeLinear"):
    """A file whose output is what one node makes of weights, in `shape`, plus its input."""
    initial = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(arrays)]
    made = [
        helper.make_node(kind, [weight.name for weight in initial], ["made"], **attributes),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array(shape, np.int64))),
        helper.make_node("Reshape", ["made", "shape"], ["shaped"]),
        helper.make_node("Add", ["x", "shaped"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(helper.make_graph(made, "g", [x], [y], initial), opset_imports=opsets, ir_version=10)
    onnx.save(model, path)


def quantized(kind, shape, scales, zero=True):
    limits = np.iinfo(kind)
    x = DRAW.integers(limits.min, limits.max, shape, kind, endpoint=True)
    scale = DRAW.uniform(0.01, 1, scales).astype(np.float32)
    return [x, scale, DRAW.integers(0, 100, scales, kind)][: 3 if zero else 2]


@pytest.mark.parametrize(
    ("arrays", "attributes"),
    [
        (quantized(np.int8, (4, 6), ()), {}),
        (quantized(np.uint8, (4, 6), (1,)), {"axis": 0}),
        (quantized(np.int8, (4, 6), (6,)), {}),
        (quantized(np.uint8, (4, 6), (4,)), {"axis": -2}),
        (quantized(np.int8, (4, 6), (4, 2)), {"axis": 1, "block_size": 3}),
        (quantized(np.uint8, (4, 6), (4, 2)), {"axis": 1, "block_size": 4}),
        (quantized(np.int8, (4, 6), (4, 1), zero=False), {"axis": -1, "block_size": 6}),
        (quantized(np.int8, (4, 3, 2), (2, 3, 2)), {"axis": 0, "block_size": 2}),
        (quantized(np.int32, (24,), (24,), zero=False), {"axis": 0}),
    ],
    ids=["one", "a list of one", "columns", "rows", "blocks", "a short last block", "no zeros", "first axis", "int32"],
)
@pytest.mark.parametrize("shape", [[2, -1], [0]], ids=str)
def test_weights_are_what_onnx_runtime_makes_of_them(tmp_path, arrays, attributes, shape):
    runtime = pytest.importorskip("onnxruntime")
    shape = shape if shape != [0] else [0, *arrays[0].shape[1:]]
    save(tmp_path / "m.onnx", arrays, attributes, shape)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": np.zeros(1, np.float32)})[0]
    graph = plain_weights(read_onnx(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert [node.kind for node in graph.nodes] == ["Add"]
    np.testing.assert_array_equal(graph.weights["shaped"].numpy(), expected)


def test_what_is_not_made_of_weights_alone_stays(tmp_path):
    save(tmp_path / "m.onnx", quantized(np.int8, (4, 6), ()), {}, [24])
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.node.append(helper.make_node("DequantizeLinear", ["x", "w1"], ["z"]))
    onnx.save(model, tmp_path / "m.onnx")
    graph = plain_weights(read_onnx(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert [node.kind for node in graph.nodes] == ["Add", "DequantizeLinear"]


@pytest.mark.parametrize(
    ("arrays", "attributes", "shape"),
    [
        (quantized(np.int8, (4, 6), (5,)), {}, [24]),
        (quantized(np.int8, (4, 6), (4, 3)), {"axis": 1, "block_size": 3}, [24]),
        (quantized(np.int8, (4, 6), (4, 2)), {"axis": 2, "block_size": 3}, [24]),
        (quantized(np.int8, (4, 6), (4, 2)), {"axis": 1, "block_size": -3}, [24]),
        (quantized(np.int8, (4, 6), (4, 2)), {"axis": 1, "block_size": 3.0}, [24]),
        ([*quantized(np.int8, (4, 6), (6,), zero=False), np.zeros(4, np.int8)], {}, [24]),
        ([*quantized(np.int8, (4, 6), (6,), zero=False), np.zeros(6, np.uint8)], {}, [24]),
        (quantized(np.int8, (4, 6), ())[:1], {}, [24]),
        ([np.ones((4, 6), np.float32), np.ones((), np.float32)], {}, [24]),
        (quantized(np.int8, (4, 6), ()), {}, [25]),
        (quantized(np.int8, (4, 6), ()), {}, [4, 6, 0]),
    ],
)
def test_a_node_whose_inputs_do_not_go_together_is_one_sentence(tmp_path, arrays, attributes, shape):
    save(tmp_path / "m.onnx", arrays, attributes, shape)
    with raises(DamagedFile, path=tmp_path / "m.onnx") as error:
        plain_weights(read_onnx(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert len(str(error.value).splitlines()) == 1
