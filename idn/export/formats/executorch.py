"""ExecuTorch: PyTorch's runtime for phones, with all its work done by XNNPACK."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from idn.errors import DamagedFile, FileError, UserError
from idn.export.contract import Arrays, Precision, Runner, require
from idn.export.suppress_output import muted
from idn.export.torch_runtime import converted
from idn.files.atomic import atomic_write
from idn.types import Network

SPARE = 5_000_000
"""Multiplications per call that one kind of operator may make outside XNNPACK, in plain loops: some milliseconds."""
MAGIC = re.compile(rb".{4}ET\d\d", re.DOTALL)
"""How a program starts."""


@dataclass(frozen=True)
class ExecuTorchFormat:
    """A program of ExecuTorch for the CPU of phones and desktops, whose operators are delegated to XNNPACK.

    fp16 halves what is computed with, which phones with fp16 arithmetic do faster; XNNPACK takes the kernels of its
    convolutions in float32, so the file stays as large. int8 quantises convolutions and linear layers, maps per tensor
    and kernels per channel. XNNPACK has no convolution whose kernels are an input.
    """

    name: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = ".pte"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    runtime_kernels: ClassVar[bool] = False
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require("executorch", "executorch", "torchao")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises UserError if XNNPACK would leave more than trifles of the work to plain loops."""
        with atomic_write(path) as draft, muted(), torch.no_grad():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            int8 = precision == "int8"
            module = _quantised(network, calibration) if int8 else converted(network, precision)
            program = torch.export.export(module, tuple(network.inputs.values()))
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            _check_delegation(edge.exported_program().graph, network.name)
            with draft.open("wb") as file:
                edge.to_executorch().write_to_file(file)

    def open(self, path: Path, threads: int) -> Runner:
        """As Format."""
        return _Runner(path, threads)

    def runtime(self) -> str | None:
        """As Format."""
        with muted():
            from executorch.runtime import Runtime
            from executorch.version import __version__

            here = Runtime.get().backend_registry.is_available("XnnpackBackend")
        return f"ExecuTorch {__version__.partition('+')[0]} with XNNPACK" if here else None


class _Runner:
    """A program with `threads` threads.

    ExecuTorch has one pool of threads per process, to which every loaded method keeps a pointer. So a runner that wants
    another number of threads makes a new pool, and each runner loads its method again when the pool is another one than
    it was loaded with: runners with different numbers may live side by side, but should not take turns.
    """

    pools: ClassVar[int] = 0
    """How many pools this class has made."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path, self._threads = path, threads
        try:
            self._program = path.read_bytes()
        except OSError as error:
            raise FileError(path, f"cannot be read ({error.strerror}): check the path") from error
        self._load()

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """As Runner."""
        if self._pool != _Runner.pools:
            self._load()
        outputs = self._method.execute([torch.from_numpy(np.ascontiguousarray(value)) for value in inputs])
        return tuple(np.array(output.numpy(), np.float32, order="C") for output in outputs)

    def _load(self) -> None:
        damaged = DamagedFile(self._path, "is damaged or no program of ExecuTorch: export it again")
        if not MAGIC.match(self._program):  # the runtime aborts when it reports another one
            raise damaged
        with muted():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime

            if portable_lib._threadpool_get_thread_count() != self._threads:
                portable_lib._unsafe_reset_threadpool(self._threads)
                _Runner.pools += 1
            try:
                self._method = Runtime.get().load_program(self._program).load_method("forward")
            except (RuntimeError, KeyError) as error:
                raise damaged from error
        self._pool = _Runner.pools


def _quantised(network: Network, calibration: Sequence[Arrays]) -> nn.Module:
    """The network with the roundings of int8 around its convolutions and linear layers."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    module = torch.export.export(converted(network, "fp32"), tuple(network.inputs.values())).module()
    delicate = _delicate(module.graph, network)
    quantizer = XNNPACKQuantizer()
    for operator in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
        quantizer.set_operator_type(operator, get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(lambda node: node.name not in delicate)
    prepared = prepare_pt2e(module, quantizer)
    for arrays in calibration:
        prepared(*(torch.from_numpy(array) for array in arrays))
    return convert_pt2e(prepared)


def _delicate(graph: fx.Graph, network: Network) -> set[str]:
    """Names of the nodes that int8 leaves alone: all that delicate outputs hang on, and what a sigmoid reads."""
    results = dict(zip(network.outputs, graph.output_node().args[0], strict=True))
    spared = {results[name] for name in network.delicate}
    for node in reversed(graph.nodes):
        if node in spared:
            spared.update(node.all_input_nodes)
    spared.update(node.args[0] for node in graph.nodes if node.target == torch.ops.aten.sigmoid.default)
    return {node.name for node in spared}


def _check_delegation(graph: fx.Graph, name: str) -> None:
    """Raise UserError if some kind of operator stays outside XNNPACK and has more than `SPARE` to do."""
    left: Counter[str] = Counter()
    for node in graph.nodes:
        left[getattr(node.target, "__name__", "")] += _multiplications(node)
    slow = [operator for operator, work in left.items() if work > SPARE]
    if slow:
        raise UserError(
            f"format executorch would run {', '.join(slow)} of {name} in plain loops, as XNNPACK does not take it: "
            "choose another format for this network"
        )


def _multiplications(node: fx.Node) -> int:
    """How many a node of an edge program makes, roughly: one per output unless it sums over products; copies none."""
    operator, value = getattr(node.target, "__name__", ""), node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, Tensor) or "copy" in operator or "clone" in operator:
        return 0
    if "convolution" in operator:
        kernel = node.args[1].meta["val"]
        return value.numel() * kernel.numel() // len(kernel)
    if "mm" in operator:
        return value.numel() * node.args[-2].meta["val"].shape[-1]
    return value.numel()
