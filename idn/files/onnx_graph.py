"""What an ONNX file contains, without running it: its inputs and outputs, its nodes in order, its weights."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from idn.errors import DamagedFile, FileError, MissingExtra, MissingFile
from idn.files.remote import local


class OnnxValue(NamedTuple):
    """An input or output. A dimension that the file leaves open is None."""

    name: str
    shape: tuple[int | None, ...]


class OnnxNode(NamedTuple):
    """One operation. attributes: numbers, strings, lists of them, and tensors; graphs inside nodes are left out."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object]


class OnnxGraph(NamedTuple):
    """A whole file. weights keeps the order of the file; inputs are those that are no weights."""

    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    nodes: tuple[OnnxNode, ...]
    weights: dict[str, Tensor]


def read_onnx(path: str | Path) -> OnnxGraph:
    """Read an ONNX file, or the one behind a URL. Nothing in it is executed; weights outside the file are not read.

    Half-precision weights stay so. Raises UserError if the file is missing, cut short or no ONNX, keeps its weights in
    other files, or the `onnx` extra is not installed.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ModuleNotFoundError as error:
        raise MissingExtra("ONNX files need", "onnx") from error
    path = local(path)
    if not path.is_file():
        raise MissingFile(path, "is not a file: check the path")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises classes of its own, which differ between its implementations
        raise DamagedFile(path, "is no ONNX file, or it is cut short: get it again") from error
    graph = model.graph
    if not graph.node:
        raise DamagedFile(path, "is an ONNX file without a graph, or it is cut short: get it again")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise FileError(path, "keeps its weights in other files: save it as one file")
    try:
        weights = {tensor.name: _tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        nodes = tuple(_node(node, onnx) for node in graph.node)
    except (ValueError, TypeError, KeyError) as error:  # a tensor whose numbers do not fill its shape, an unknown type
        raise DamagedFile(path, f"is damaged ({error}): get it again") from error
    inputs = tuple(_value(item) for item in graph.input if item.name not in weights)
    return OnnxGraph(inputs, tuple(_value(item) for item in graph.output), nodes, weights)


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor of its own; numbers of a kind that NumPy has no name for, such as bfloat16, become float32."""
    return torch.from_numpy(np.array(array if array.dtype.kind in "fiub" else array.astype(np.float32)))


def _value(item: object) -> OnnxValue:
    dims = item.type.tensor_type.shape.dim
    return OnnxValue(item.name, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims))


def _node(node: object, onnx: object) -> OnnxNode:
    kept = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, onnx.TensorProto):
            value = _tensor(onnx.numpy_helper.to_array(value))
        if isinstance(value, int | float | str | list | tuple | Tensor):
            kept[attribute.name] = value
    return OnnxNode(node.op_type, tuple(node.input), tuple(node.output), kept)
