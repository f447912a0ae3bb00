import pytest
import torch

from idn.errors import DamagedFile, FileError, MissingFile
from idn.files.onnx_graph import read_onnx
from tests.raising import raises

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def save(path, dtype=torch.float32, outside=False):
    weight = torch.arange(6, dtype=dtype).reshape(2, 3)
    initial = numpy_helper.from_array(weight.numpy(), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5, transB=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [initial]))
    if outside:
        onnx.save(model, path, save_as_external_data=True, location="side.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    return weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_graph_is_read_without_being_run(tmp_path, dtype):
    weight = save(tmp_path / "m.onnx", dtype)
    graph = read_onnx(tmp_path / "m.onnx")
    assert [(v.name, v.shape) for v in graph.inputs] == [("x", (None, 3))]
    assert [(v.name, v.shape) for v in graph.outputs] == [("y", (1, 2))]
    assert [(n.kind, n.inputs, n.outputs) for n in graph.nodes] == [("Gemm", ("x", "w"), ("y",))]
    assert graph.nodes[0].attributes == {"alpha": 0.5, "transB": 1}
    assert torch.equal(graph.weights["w"], weight) and graph.weights["w"].dtype == dtype


def test_damaged_missing_and_split_files_are_one_sentence(tmp_path):
    save(tmp_path / "m.onnx")
    whole = (tmp_path / "m.onnx").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "noise": b"\xff" * 64, "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with raises(DamagedFile, path=tmp_path / name):
            read_onnx(tmp_path / name)
    with raises(MissingFile, path=tmp_path / "missing.onnx"):
        read_onnx(tmp_path / "missing.onnx")
    (tmp_path / "split").mkdir()
    save(tmp_path / "split/m.onnx", outside=True)
    with raises(FileError, path=tmp_path / "split/m.onnx"):
        read_onnx(tmp_path / "split/m.onnx")


@pytest.mark.parametrize("change", [{"dims": [3, 0]}, {"dims": [2, 4]}, {"data_type": 99}], ids=str)
def test_a_weight_whose_numbers_do_not_fill_its_shape_is_damage(tmp_path, change):
    save(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    weight = model.graph.initializer[0]
    weight.data_type = change.get("data_type", weight.data_type)
    weight.dims[:] = change.get("dims", list(weight.dims))
    onnx.save(model, tmp_path / "m.onnx")
    with raises(DamagedFile, path=tmp_path / "m.onnx"):
        read_onnx(tmp_path / "m.onnx")


def test_bfloat16_weights_become_float32(tmp_path):
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [3], [1.0, -2.5, 0.125])
    x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert torch.equal(read_onnx(tmp_path / "m.onnx").weights["w"], torch.tensor([1.0, -2.5, 0.125]))
