"""Values in an ONNX graph that are known without running it: constants, what was computed from them, and moves."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from idn.files.onnx_graph import OnnxGraph, OnnxNode

_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
_FLOATS = (1, 10, 11, 16)
"""Numbers of the element types in ONNX; the last one is bfloat16."""
_BROADCASTS = ("Add", "Sub", "Mul", "Div")
_COMPUTED = (
    *_BROADCASTS,
    *("Constant", "ConstantOfShape", "Identity", "Cast", "Shape", "Concat", "Transpose", "Reshape", "Gather"),
    *("Unsqueeze", "Squeeze", "Slice", "Split"),
)
"""Operations that are carried out on known values; every other one ends the search."""
_CHANNELWISE = ("Pad", "Relu", "LeakyRelu", "Resize", "InstanceNormalization", "Cast", "Identity")
"""Operations that leave the channels of a feature map apart and as many as they are."""


class GraphValues:
    """Looks up what makes a value in a file's graph, and computes it where it depends on constants alone."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.weights = graph.weights
        self.constants = {
            node.outputs[0]: node.attributes["value"].numpy()
            for node in graph.nodes
            if isinstance(node.attributes.get("value"), Tensor)
        }
        self.made = {name: node for node in graph.nodes for name in node.outputs}
        self._channels: dict[str, int | None] = {}

    def root(self, name: str) -> str:
        """The value that `name` repeats: what precision it is in, and copies of it, make no difference."""
        while (node := self.made.get(name)) is not None and (
            node.kind == "Identity" or (node.kind == "Cast" and node.attributes["to"] in _FLOATS)
        ):
            name = node.inputs[0]
        return name

    def kind(self, name: str) -> str | None:
        """The operation that makes a value; None for an input, a weight and an unknown name."""
        node = self.made.get(self.root(name))
        return None if node is None else node.kind

    def evaluate(self, name: str, given: Mapping[str, np.ndarray] | None = None) -> np.ndarray | None:
        """The value of `name`, None if that cannot be said without running the network.

        given: values to start from, beside weights and constants; floating-point numbers among them are only moved.
        """
        return self._evaluate(name, dict(given or {}))

    def _evaluate(self, name: str, seen: dict[str, np.ndarray | None]) -> np.ndarray | None:
        if name not in seen:
            node = self.made.get(name)
            if name in self.weights:
                seen[name] = self.weights[name].numpy()
            else:
                seen[name] = None if node is None or node.kind not in _COMPUTED else self._value(name, node, seen)
        return seen[name]

    def _value(self, name: str, node: OnnxNode, seen: dict[str, np.ndarray | None]) -> np.ndarray | None:
        if node.kind == "Gather" and self.kind(node.inputs[0]) == "Shape" and self.number(node.inputs[1]) == 1:
            channels = self.channels(self.made[self.root(node.inputs[0])].inputs[0])
            if channels is not None:
                return np.full_like(self.evaluate(node.inputs[1]), channels)
        values = [self._evaluate(item, seen) if item else None for item in node.inputs]
        if any(value is None for item, value in zip(node.inputs, values, strict=True) if item):
            return None
        try:
            if node.kind in ("Constant", "ConstantOfShape"):
                return self._constant(node, values)
            return _compute(node, node.outputs.index(name), values)
        except (ValueError, IndexError, KeyError, TypeError):  # a node that ONNX itself would refuse
            return None

    def channels(self, name: str) -> int | None:
        """How many channels a feature map has, None if `name` is not made from a convolution channel by channel."""
        if name not in self._channels:
            self._channels[name] = self._count(self.made.get(name))
        return self._channels[name]

    def _count(self, node: OnnxNode | None) -> int | None:
        if node is None:
            return None
        if node.kind == "Conv":
            weight = self.evaluate(node.inputs[1])
            return None if weight is None else len(weight)
        inputs = node.inputs if node.kind in _BROADCASTS else node.inputs[:1] if node.kind in _CHANNELWISE else ()
        found = {self.channels(item) for item in inputs} - {None}
        return found.pop() if len(found) == 1 else None

    def number(self, name: str) -> float | None:
        """The value of `name` if it is a single known number."""
        value = self.evaluate(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def _constant(self, node: OnnxNode, values: list[np.ndarray | None]) -> np.ndarray | None:
        value = self.constants.get(node.outputs[0])
        if node.kind == "ConstantOfShape":
            return np.full(values[0], np.float32(0) if value is None else value.reshape(()))
        if value is None:
            plain = [item for key, item in node.attributes.items() if key.startswith("value")]
            return np.asarray(plain[0]) if plain else None
        return value


def _compute(node: OnnxNode, index: int, values: list[np.ndarray | None]) -> np.ndarray | None:
    """Output number `index` of a node; None for operations other than moves and arithmetic of whole numbers."""
    x, *rest = values
    attributes = node.attributes
    match node.kind:
        case "Identity":
            return x
        case "Cast":
            wanted = _TYPES.get(attributes["to"])
            return x if wanted is None or issubclass(wanted, np.floating) else x.astype(wanted)
        case "Shape":
            return np.array(x.shape)
        case "Concat":
            return np.concatenate(values, attributes["axis"])
        case "Transpose":
            return x.transpose(attributes.get("perm"))
        case "Reshape":
            return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(rest[0].tolist())])
        case "Gather":
            return np.take(x, rest[0].astype(np.int64), attributes.get("axis", 0))
        case "Unsqueeze" | "Squeeze":
            axes = attributes.get("axes") if not rest else rest[0].tolist()
            move = np.expand_dims if node.kind == "Unsqueeze" else np.squeeze
            return move(x, None if axes is None else tuple(axes))
        case "Slice":
            return _slice(x, rest)
        case "Split":
            return _split(x, node, rest)[index]
        case "Add" | "Sub" | "Mul" | "Div" if all(np.issubdtype(value.dtype, np.integer) for value in values):
            operation = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide}[node.kind]
            return operation(x, rest[0])
    return None


def _slice(x: np.ndarray, rest: list[np.ndarray | None]) -> np.ndarray | None:
    """Slice as it is since opset 10: starts, ends, axes and steps are inputs, the last two may be missing."""
    if len(rest) < 2:
        return None
    starts, ends, axes, steps = (None if item is None else item.tolist() for item in [*rest, None, None][:4])
    place = [slice(None)] * x.ndim
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = number if axes is None else axes[number]
        place[axis] = slice(start, end, 1 if steps is None else steps[number])
    return x[tuple(place)]


def _split(x: np.ndarray, node: OnnxNode, rest: list[np.ndarray | None]) -> list[np.ndarray]:
    """Split into the parts that an attribute or input states, or else into equal ones."""
    axis = node.attributes.get("axis", 0)
    parts = rest[0].tolist() if rest and rest[0] is not None else node.attributes.get("split")
    if parts is None:
        return np.array_split(x, len(node.outputs), axis)
    return np.split(x, np.cumsum(parts)[:-1], axis)
