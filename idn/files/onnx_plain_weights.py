"""DequantizeLinear of weights in an ONNX file: those kept in eight bits become the floats they stand for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idn.errors import DamagedFile
from idn.files.onnx_graph import OnnxGraph, OnnxNode


class _UnfitNodeError(Exception):
    """The inputs or attributes of a node do not go together."""


def plain_weights(graph: OnnxGraph, path: str | Path) -> OnnxGraph:
    """The same network with its weights as they enter it: what nodes make of weights alone are weights.

    Done for Constant, DequantizeLinear (one scale, one per channel, or one per block) and Reshape, as ONNX 21 defines
    them; such a node of something else stays. path: named in errors.
    Raises DamagedFile for a node whose inputs do not go together, or one with numbers of a kind that is not read.
    """
    weights, nodes = dict(graph.weights), []
    for node in graph.nodes:
        compute = _COMPUTE.get(node.kind)
        if compute is None or len(node.outputs) != 1 or not all(name in weights for name in node.inputs if name):
            nodes.append(node)
            continue
        try:
            weights[node.outputs[0]] = compute(node, [weights[name] if name else None for name in node.inputs])
        except _UnfitNodeError as error:
            said = f"holds a {node.kind} that cannot be ({node.outputs[0]}: {error}): get it again"
            raise DamagedFile(path, said) from error
    return graph._replace(nodes=tuple(nodes), weights=weights)


def _constant(node: OnnxNode, inputs: Sequence[Tensor | None]) -> Tensor:
    value = node.attributes.get("value")
    if not isinstance(value, Tensor):
        raise _UnfitNodeError("no tensor")
    return value


def _dequantized(node: OnnxNode, inputs: Sequence[Tensor | None]) -> Tensor:
    """(x - zero_point) * scale, in the kind of numbers of the scale."""
    x, scale, zero = (*inputs, None, None, None)[:3]
    if x is None or scale is None or len(inputs) > 3:
        raise _UnfitNodeError(f"{len(inputs)} inputs")
    if x.is_floating_point() or not scale.is_floating_point():
        raise _UnfitNodeError(f"{x.dtype} with a scale of {scale.dtype}")
    if zero is not None and (zero.shape, zero.dtype) != (scale.shape, x.dtype):
        raise _UnfitNodeError("its zero points are not like its scales and its numbers")
    axis, block = _whole(node, "axis", 1), _whole(node, "block_size", 0)
    whole = x.long() if zero is None else x.long() - _spread(zero.long(), x.shape, axis, block)
    return (whole.float() * _spread(scale.float(), x.shape, axis, block)).to(scale.dtype)


def _spread(values: Tensor, shape: torch.Size, axis: int, block: int) -> Tensor:
    """One value, one for each place along `axis`, or for each block of them, in a shape that multiplies `shape`."""
    if block == 0 and values.ndim <= 1 and values.numel() == 1:
        return values.reshape(())
    if not -len(shape) <= axis < len(shape) or block < 0:
        raise _UnfitNodeError(f"axis={axis}, block_size={block} for {tuple(shape)}")
    axis %= len(shape)
    count = shape[axis]
    blocks = (*shape[:axis], -(-count // block), *shape[axis + 1 :]) if block else (count,)
    if values.shape != blocks:
        raise _UnfitNodeError(f"scales {tuple(values.shape)} where {blocks} are needed")
    if block:
        return values.index_select(axis, torch.arange(count) // block)
    return values.view(-1, *(1 for _ in shape[axis + 1 :]))


def _reshaped(node: OnnxNode, inputs: Sequence[Tensor | None]) -> Tensor:
    if len(inputs) != 2 or inputs[0] is None or inputs[1] is None or inputs[1].dtype != torch.int64:
        raise _UnfitNodeError("no shape")
    data, sizes = inputs[0], inputs[1].flatten().tolist()
    if not _whole(node, "allowzero", 0):
        sizes = [(*data.shape, *sizes)[place] if size == 0 else size for place, size in enumerate(sizes)]
    try:
        return data.reshape(sizes)
    except RuntimeError as error:
        raise _UnfitNodeError(f"{tuple(data.shape)} does not fill {sizes}") from error


def _whole(node: OnnxNode, name: str, default: int) -> int:
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise _UnfitNodeError(f"{name}={value}")
    return value


_COMPUTE: dict[str, Callable[[OnnxNode, Sequence[Tensor | None]], Tensor]] = {
    "Constant": _constant,
    "DequantizeLinear": _dequantized,
    "Reshape": _reshaped,
}
