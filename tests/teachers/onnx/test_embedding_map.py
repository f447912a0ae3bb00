"""Both kinds of maps against literal arithmetic, and every file that is none."""

import copy
import itertools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from idn.errors import DamagedFile, FileError, MissingFile, OptionError
from teachers.onnx.embedding_map import CrossFaceMap, MatrixMap
from tests.raising import raises


def write(path: Path, nodes: list, shapes: tuple[list, list], weights: dict[str, np.ndarray], inputs: int = 1) -> Path:
    taken = [helper.make_tensor_value_info(f"input{i or ''}", TensorProto.FLOAT, shapes[0]) for i in range(inputs)]
    given = [helper.make_tensor_value_info("output", TensorProto.FLOAT, shapes[1])]
    kept = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "map", taken, given, kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def inswapper(path: Path, **weights: np.ndarray) -> Path:
    return write(path, [helper.make_node("Identity", ["input"], ["output"])], ([1], [1]), weights)


def embeddings(n: int, dim: int, length: float = 1.0) -> Tensor:
    return length * F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(n)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "map.onnx"


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("length", [1.0, 23.0])
def test_last_matrix_by_both_conventions(file, dtype, length):
    matrix = np.random.default_rng(0).normal(size=(6, 6)).astype(dtype)
    inswapper(file, first=np.ones((6, 6), np.float32), bias=np.ones(6, np.float32), emap=matrix)
    raw = embeddings(4, 6, length)
    rows = [row @ matrix.astype(np.float64) for row in raw.double().numpy()]
    unit = np.stack([row / np.linalg.norm(row) for row in rows])
    plain = np.stack([row / np.linalg.norm(x) for row, x in zip(rows, raw.double().numpy(), strict=True)])
    for convention, expected in (("insightface", unit), ("facefusion", plain)):
        mapped = MatrixMap(file, convention)(raw)
        np.testing.assert_allclose(mapped.numpy(), expected, atol=1e-5)
        alone = torch.cat([MatrixMap(file, convention)(row) for row in raw.split(1)])
        torch.testing.assert_close(alone, mapped)
    assert abs(np.linalg.norm(plain, axis=1) - 1).max() > 0.1


def test_matrix_is_frozen_and_not_square_if_need_be(file):
    inswapper(file, emap=np.ones((6, 4), np.float32))
    found = MatrixMap(file, "facefusion")
    assert (found.dim, found.out_dim) == (6, 4)
    assert not found.train().training and not list(found.parameters()) and found.state_dict() == {}
    assert found(embeddings(2, 6).half()).dtype == torch.float16


@pytest.mark.parametrize("last", [np.ones(6, np.float32), np.ones((6, 6), np.int64)])
def test_files_that_end_with_no_matrix(file, last):
    inswapper(file, emap=np.ones((6, 6), np.float32), last=last)
    with raises(FileError, str(last.shape), path=file):
        MatrixMap(file, "insightface")


def test_other_bad_matrices(file):
    with raises(MissingFile, path=file):
        MatrixMap(file, "insightface")
    inswapper(file)
    with raises(FileError, "(0,)", path=file):
        MatrixMap(file, "insightface")
    inswapper(file, emap=np.ones((6, 6), np.float32))
    with raises(OptionError, argument="convention"):
        MatrixMap(file, "mine")


class CrossFace(nn.Module):
    """The published structure, rebuilt for the test."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (512, 1024, 2048, 1024, 512)
        self.linear = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))
        self.norm = nn.ModuleList(nn.LayerNorm(size) for size in sizes[1:-1])
        self.skip = nn.Linear(512, 512)

    def forward(self, x: Tensor) -> Tensor:
        x = y = F.normalize(x)
        for linear, norm in zip(self.linear, self.norm, strict=False):
            y = F.dropout(F.gelu(norm(linear(y))), 0.1, self.training)
        return self.linear[-1](y) + 0.2 * self.skip(x)


@pytest.fixture(scope="module")
def crossface(tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossFace, Path]:
    torch.manual_seed(0)
    net, path = CrossFace().eval(), tmp_path_factory.mktemp("crossface") / "crossface.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net,
            (torch.rand(1, 512),),
            path,
            input_names=["input"],
            output_names=["output"],
            dynamo=False,
            opset_version=17,
        )
    return net, path


@pytest.mark.parametrize("unit_length", [True, False])
def test_converter_of_the_published_size(crossface, unit_length):
    net, path = crossface
    assert sum(p.numel() for p in net.parameters()) == 5_518_336
    assert 22.0e6 < path.stat().st_size < 22.2e6
    converter = CrossFaceMap(path, unit_length)
    assert (converter.dim, converter.out_dim) == (512, 512)
    given = embeddings(3, 512, 20.0)
    with torch.no_grad():
        expected = net(given)
    mapped = converter(given)
    torch.testing.assert_close(mapped, F.normalize(expected) if unit_length else expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat([converter(row) for row in given.split(1)]), mapped, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(converter)(given), mapped, rtol=0, atol=0)
    assert not mapped.requires_grad and not converter.train().training


def test_converter_that_would_divide_by_the_norm_of_the_batch(file):
    nodes = [
        helper.make_node("ReduceL2", ["input"], ["norm"], keepdims=0),
        helper.make_node("Div", ["input", "norm"], ["unit"]),
        helper.make_node("MatMul", ["unit", "matrix"], ["output"]),
    ]
    matrix = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    write(file, nodes, (["N", 6], ["N", 4]), {"matrix": matrix})
    given = embeddings(3, 6, 5.0)
    expected = F.normalize(given) @ torch.from_numpy(matrix)
    torch.testing.assert_close(CrossFaceMap(file, unit_length=False)(given), expected)


@pytest.mark.parametrize(
    ("shapes", "inputs"),
    [(([1, 3, 8, 8], [1, 3, 8, 8]), 1), (([2, 6], [2, 6]), 1), ((["N", "D"], ["N", "D"]), 1), (([1, 6], [1, 6]), 2)],
)
def test_files_that_are_no_converters(file, shapes, inputs):
    write(file, [helper.make_node("Identity", ["input"], ["output"])], shapes, {}, inputs)
    with raises(FileError, "input", path=file):
        CrossFaceMap(file, unit_length=True)


def test_converter_that_is_no_onnx(file):
    file.write_bytes(b"hello")
    with raises(DamagedFile, path=file):
        CrossFaceMap(file, unit_length=True)
