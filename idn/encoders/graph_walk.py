"""Following the data through the graph of an ONNX file, to find the weights of a network whose layers are known."""

from collections.abc import Collection

from torch import Tensor

from idn.files.onnx_graph import OnnxGraph, OnnxNode


class ForeignGraphError(Exception):
    """The graph is not that of the network that is looked for; the message says where it differs."""


class GraphWalk:
    """Base of readers that follow the data. Names do not matter, only connections.

    graph: the file.
    transparent: kinds of nodes that pass on their first input as it is.
    """

    def __init__(self, graph: OnnxGraph, transparent: Collection[str] = ()) -> None:
        self.graph = graph
        self.origin: dict[str, str] = {}
        self.users: dict[str, list[OnnxNode]] = {}
        self.tensors: dict[str, Tensor] = {}
        for node in graph.nodes:
            if node.kind in transparent:
                self.origin[node.outputs[0]] = self.source(node.inputs[0])
                continue
            for name in node.inputs:
                self.users.setdefault(self.source(name), []).append(node)

    def only(self, x: str, kind: str) -> OnnxNode:
        """The node of this kind that reads `x`. Raises ForeignGraphError if there is none."""
        found = self.users.get(x, [])
        node = next((node for node in found if node.kind == kind), None)
        if node is None:
            raise ForeignGraphError(f"{kind} is expected after {x}, not {'/'.join(n.kind for n in found) or 'the end'}")
        return node

    def weight(self, node: OnnxNode, position: int) -> Tensor:
        """A copy of a fixed input, in single precision. Raises ForeignGraphError if the file does not hold it."""
        name = self.source(node.inputs[position]) if position < len(node.inputs) else None
        if name not in self.graph.weights:
            raise ForeignGraphError(f"a {node.kind} has no fixed weights{f' {name}' if name else ''}")
        return self.graph.weights[name].float().clone()

    def source(self, name: str) -> str:
        """Where the values of this name come from."""
        return self.origin.get(name, name)
