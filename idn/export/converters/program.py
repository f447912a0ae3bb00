"""A network as two files that any version of PyTorch reads: its calls of ATen operators, and its numbers.

This module needs PyTorch and safetensors alone, so that it can be imported on both sides.
"""

import json
import operator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind

_STATE = {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}
_RENAMED = {"aten.view.default": "aten.reshape.default"}
"""A view relies on how its input lies in memory, which a converter may change."""
_KINDS = {torch.dtype: "dtype", torch.device: "device", torch.layout: "layout", torch.memory_format: "memory_format"}


def write_program(module: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> None:
    """Write `graph.json` and `tensors.safetensors`: what `module` computes for inputs of these shapes.

    module: in eval mode; positional tensors in, a tuple of tensors out. Raises ValueError for a call that is no ATen
    operator, and for state that the module changes.
    """
    program = torch.export.export(module, inputs).run_decompositions({})
    if any(spec.kind is not OutputKind.USER_OUTPUT for spec in program.graph_signature.output_specs):
        raise ValueError("the network changes its own state")
    stored = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    origins = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.kind in _STATE}
    tensors: dict[str, Tensor] = {}
    nodes: list[dict[str, Any]] = []
    for node in program.graph.nodes:
        if node.name in origins:
            tensors[node.name] = stored[origins[node.name]].detach().clone().contiguous()
            nodes.append({"op": "tensor", "name": node.name})
        elif node.op == "placeholder":
            nodes.append({"op": "input", "name": node.name})
        elif node.op == "call_function" and node.users:
            call = {"target": _name(node.target), "args": _write(node.args), "kwargs": _write(node.kwargs)}
            nodes.append({"op": "call", "name": node.name, **call})
        elif node.op == "output":
            nodes.append({"op": "output", "args": _write(node.args[0])})
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "graph.json").write_text(json.dumps(nodes))


def read_program(folder: Path) -> fx.GraphModule:
    """The network that `write_program` wrote, in eval mode: the same inputs in, a tuple of tensors out."""
    tensors = load_file(folder / "tensors.safetensors")
    root, graph = nn.Module(), fx.Graph()
    known: dict[str, fx.Node] = {}
    for node in json.loads((folder / "graph.json").read_text()):
        if node["op"] == "tensor":
            root.register_parameter(node["name"], nn.Parameter(tensors[node["name"]], requires_grad=False))
            known[node["name"]] = graph.get_attr(node["name"])
        elif node["op"] == "input":
            known[node["name"]] = graph.placeholder(node["name"])
        elif node["op"] == "call":
            args, kwargs = _read(node["args"], known), _read(node["kwargs"], known)
            known[node["name"]] = graph.call_function(_operator(node["target"]), tuple(args), kwargs)
        else:
            graph.output(tuple(_read(node["args"], known)))
    return fx.GraphModule(root, graph).eval()


def _name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        raise ValueError(f"{target} is no ATen operator")
    return _RENAMED.get(str(target), str(target))


def _operator(name: str) -> Any:
    if name == "getitem":
        return operator.getitem
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _write(value: Any) -> Any:
    """An argument as JSON."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list | tuple):
        return [_write(item) for item in value]
    if isinstance(value, dict):
        return {"items": {key: _write(item) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value) in _KINDS:
        return {_KINDS[type(value)]: str(value).removeprefix("torch.")}
    raise ValueError(f"an operator has the argument {value!r}")


def _read(value: Any, known: dict[str, fx.Node]) -> Any:
    """The argument that `_write` wrote."""
    if isinstance(value, list):
        return [_read(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "items":
        return {key: _read(item, known) for key, item in content.items()}
    if kind == "node":
        return known[content]
    return torch.device(content) if kind == "device" else getattr(torch, content)
