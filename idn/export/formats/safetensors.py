"""Safetensors: the weights alone, for those who write the network themselves, and for PyTorch."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.export.contract import Arrays, Precision, Runner
from idn.export.formats.torch_runtime import DTYPES, TorchRunner
from idn.files.tensors import load_strict, read_metadata, read_tensors, write_tensors
from idn.students.mobilefaceswap.dynamic_graph import DynamicGraph, InjectionGraph
from idn.students.mobilefaceswap.static_graph import InferenceGraph, rewrite
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription, Network

GRAPH = "idn.graph"
"""Key of the metadata under which a file says, as JSON, what its tensors belong to."""
GRAPHS: dict[type[nn.Module], str] = {InferenceGraph: "baked", DynamicGraph: "dynamic", InjectionGraph: "injection"}
"""The networks that a file can hold, and what it calls them."""


@dataclass(frozen=True)
class SafetensorsFormat:
    """Weights under the names of the PyTorch modules of this package, and in the metadata what they belong to.

    The metadata, JSON under "idn.graph", name the network ("graph"), the width of a student with the same channels,
    whether it works by "blocks", and the shapes of its inputs; the file is opened with that and nothing else. No
    architecture is in it, so an identity encoder, of which there are many, cannot be written. In fp16 and bf16 the
    weights take half the space, and are run in float32. Opening a file executes nothing of it.
    """

    name: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16")
    runtime_kernels: ClassVar[bool] = True

    def computed_in(self, network: str, precision: Precision) -> Precision:
        """As Format."""
        return "fp32"

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises UserError for a network that is not one of `GRAPHS`."""
        module = network.module
        if type(module) not in GRAPHS:
            raise UserError(
                f"format=safetensors holds the networks of a student, not {network.name}: "
                "choose another format for it, or keep its own file of weights"
            )
        facts = _facts(network)
        dtype = DTYPES[precision]
        tensors = {
            name: value.to(dtype) if value.is_floating_point() else value for name, value in module.state_dict().items()
        }
        write_tensors(path, tensors, {GRAPH: json.dumps(facts)})

    def open(self, path: Path, threads: int) -> Runner:
        """As Format. Raises UserError that names the tensors if they do not fit what the file says it is."""
        metadata, tensors = read_metadata(path), read_tensors(path)
        if GRAPH not in metadata:
            raise UserError(f"{path} is no exported network: choose a file written by `idn export`")
        try:
            facts = json.loads(metadata[GRAPH])
            module = _skeleton(facts["graph"], facts["width"], facts["blocks"], facts["inputs"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"{path} names a network that does not exist ({error}): export it again") from error
        load_strict(module, tensors, str(path))
        return TorchRunner(module.eval().to(memory_format=torch.channels_last), threads, channels_last=True)

    def runtime(self) -> str:
        """As Format."""
        return f"PyTorch {torch.__version__}"


def _facts(network: Network) -> dict[str, Any]:
    """What `_skeleton` and readers of a file need to know. Raises ValueError for a variant that `open` cannot make."""
    graph, tensors = GRAPHS[type(network.module)], network.module.state_dict()
    blocks = any(isinstance(part, nn.PixelShuffle) for part in network.module.modules())
    inputs = {name: list(value.shape) for name, value in network.inputs.items()}
    widths = [numerator / 128 for numerator in range(32, 257)]  # every layout has one of these
    place = bisect_left(widths, _count(tensors), key=lambda width: _count(_tensors(graph, width, blocks, inputs)))
    width = widths[min(place, len(widths) - 1)]
    if _shapes(_tensors(graph, width, blocks, inputs)) != _shapes(tensors):
        raise ValueError(f"{network.name} has other weights than any {graph} network of this package")
    return {"graph": graph, "width": width, "blocks": blocks, "inputs": inputs, "outputs": network.outputs}


def _count(tensors: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _tensors(graph: str, width: float, blocks: bool, inputs: dict[str, list[int]]) -> dict[str, Tensor]:
    return _skeleton(graph, width, blocks, inputs).state_dict()


def _skeleton(graph: str, width: float, blocks: bool, inputs: dict[str, list[int]]) -> nn.Module:
    """A network of these sizes with any weights. Raises LookupError or ValueError if there is none."""
    dim = inputs["embedding"][1] if graph == "injection" else 1
    channels, side = inputs["features"][1:3] if graph == "injection" else (1, 7)
    with torch.random.fork_rng(devices=[]):
        student = Student(EncoderDescription(dim, channels, side), width)
        if graph == "injection":
            return InjectionGraph(student)
        if graph == "dynamic":
            return DynamicGraph(student, runtime_kernels=True, blocks=blocks)
        if graph == "baked":
            return rewrite(student.bake(torch.zeros(1, dim), torch.zeros(1, channels, side, side)), blocks)
    raise ValueError(f"graph {graph}")
