"""Opening files, whole and damaged, and where they run."""

import copy
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from idn.errors import DamagedFile, FileError, ForeignFile, MissingExtra, OptionError
from teachers.onnx.program import OnnxProgram
from tests.raising import raises

CUDA = torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
GAIN = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)


def write(path: Path, opset: int = 17, ir: int = 9, kind: str = "MatMul", types: tuple[int, int] = (1, 1)) -> Path:
    """output = x @ GAIN; count = its number of rows."""
    nodes = [
        helper.make_node("Cast", ["x"], ["given"], to=TensorProto.FLOAT),
        helper.make_node(kind, ["given", "gain"], ["product"]),
        helper.make_node("Cast", ["product"], ["output"], to=types[1]),
        helper.make_node("Shape", ["given"], ["count"], end=1),
    ]
    taken = [helper.make_tensor_value_info("x", types[0], ["N", 8])]
    given = [
        helper.make_tensor_value_info("output", types[1], ["N", 8]),
        helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
    ]
    graph = helper.make_graph(nodes, "product", taken, given, [numpy_helper.from_array(GAIN, "gain")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)
    return path


def ask(program: OnnxProgram, x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    return program.run({"x": x}, "output", shape or tuple(x.shape))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "product.onnx"


def test_runs_and_tells_what_it_takes(file):
    program = OnnxProgram(write(file))
    assert program.inputs["x"] == ("x", (None, 8), torch.float32)
    assert program.outputs == {"output": ("output", (None, 8), torch.float32)}
    x = torch.rand(8, 5).T
    torch.testing.assert_close(ask(program, x), x @ torch.from_numpy(GAIN))
    with pytest.raises(RuntimeError, match=r"invalid dimensions|shape"):
        ask(program, x, (5, 4))
    with pytest.raises(RuntimeError, match=r"invalid dimensions|shape"):
        ask(program, torch.rand(5, 7))


def test_half_precision_in_and_out(file):
    program = OnnxProgram(write(file, types=(TensorProto.FLOAT16, TensorProto.FLOAT16)))
    x = torch.rand(3, 8)
    answer = ask(program, x)
    assert answer.dtype == torch.float16
    torch.testing.assert_close(answer.float(), x @ torch.from_numpy(GAIN), rtol=0, atol=3e-3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(file, share):
    whole = write(file).read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with raises(DamagedFile, path=file):
        OnnxProgram(file)


@pytest.mark.parametrize("content", [b"", b"hello", b"<!doctype html>", bytes(range(256))])
def test_files_of_another_kind(file, content):
    file.write_bytes(content)
    with raises(DamagedFile, path=file):
        OnnxProgram(file)


@pytest.mark.parametrize(
    ("made", "kind", "named"),
    [
        ({"opset": 99}, ForeignFile, "`pip install -U onnxruntime`"),
        ({"ir": 99}, ForeignFile, "`pip install -U onnxruntime`"),
        ({"kind": "Imagine"}, FileError, "Imagine"),
        ({"types": (TensorProto.UINT8, 1)}, FileError, "x as tensor(uint8)"),
    ],
)
def test_files_that_cannot_be_run(file, made, kind, named):
    path = write(file, **made)
    with raises(kind, named, path=path) as error:
        OnnxProgram(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("there", [True, False])
def test_weights_in_other_files(file, there):
    proto = onnx.load(write(file))
    onnx.save(proto, file, save_as_external_data=True, size_threshold=0, location="weights.bin")
    if not there:
        (file.parent / "weights.bin").unlink()
    with raises(FileError, path=file):
        OnnxProgram(file)


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_missing_extra(file, module, monkeypatch):
    write(file)
    monkeypatch.setitem(sys.modules, module, None)
    with raises(MissingExtra, extra="onnx"):
        OnnxProgram(file)


def test_copies_and_pickles_open_the_file_again(file, monkeypatch, tmp_path):
    write(file)
    monkeypatch.chdir(tmp_path)
    program = OnnxProgram(file.name)
    x = torch.rand(2, 8)
    answer = ask(program, x)
    monkeypatch.chdir("/")
    for other in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert torch.equal(ask(other, x), answer)
        assert other._session is not program._session
    again = copy.deepcopy(program)
    file.unlink()
    assert torch.equal(ask(program, x), answer)
    with raises(FileError, path=file):
        ask(again, x)


def test_as_many_threads_as_torch(file):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        program = OnnxProgram(write(file))
        assert program._session.get_session_options().intra_op_num_threads == before + 1
    finally:
        torch.set_num_threads(before)


def test_providers_that_are_not_there(file):
    assert OnnxProgram(write(file), ["CPUExecutionProvider"])._session.get_providers() == ["CPUExecutionProvider"]
    with raises(OptionError, argument="providers", value="MoonExecutionProvider"):
        OnnxProgram(file, ["MoonExecutionProvider"])


@pytest.mark.skipif(CUDA, reason="ONNX Runtime can use CUDA here")
def test_only_one_warning_where_cuda_is_wanted_and_cannot_be_had(file):
    program = OnnxProgram(write(file))
    cpu, card = program._session, torch.device("cuda", 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            session, place = program._session_for(card)
            assert session is cpu and place.type == "cpu"
    assert [str(w.message)[:28] for w in caught] == ["ONNX Runtime cannot use cuda"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OnnxProgram(file, ["CPUExecutionProvider"])._session_for(card)


@pytest.mark.skipif(CUDA, reason="ONNX Runtime can use CUDA here")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_is_listed_but_broken(file):
    program = OnnxProgram(write(file))
    program._cuda = True
    with pytest.warns(UserWarning, match="ONNX Runtime cannot use cuda here"):
        session, place = program._session_for(torch.device("cuda", 0))
    assert place.type == "cpu" and session.get_providers() == ["CPUExecutionProvider"]


def test_cards_are_addressed_by_their_number(file):
    program = OnnxProgram(write(file))
    card = ("CUDAExecutionProvider", {"device_id": 1})
    assert program._wanted(torch.device("cuda", 1)) == [card, "CPUExecutionProvider"]
    assert program._wanted(torch.device("cpu")) == ["CPUExecutionProvider"]


@pytest.mark.skipif(not CUDA, reason="needs CUDA and onnxruntime-gpu")
def test_stays_on_the_card(file):
    program = OnnxProgram(write(file))
    x = torch.rand(3, 8, device="cuda")
    answer = ask(program, x)
    assert answer.is_cuda and program._place.type == "cuda"
    torch.testing.assert_close(answer.cpu(), x.cpu() @ torch.from_numpy(GAIN), rtol=0, atol=1e-2)
