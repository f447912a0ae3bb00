"""ncnn: a .param file with the layers and a .bin file with the weights, for phones and boards of any make."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from idn.errors import DamagedFile, MissingFile, UserError
from idn.export.contract import Arrays, Precision, Runner, require
from idn.export.suppress_output import muted
from idn.files.atomic import atomic_write
from idn.types import Network

HALF = (0x01306B47).to_bytes(4, "little")
"""First bytes of a .bin file whose weights are in half precision."""


@dataclass(frozen=True)
class NcnnFormat:
    """A .param and a .bin file of one stem; `path` is the .param. Maps are (C, H, W): ncnn has no batches.

    fp16 keeps weights in half precision, and maps too where the processor can. The tools that make int8 files do not
    come as a Python package, and files in bf16 gave wrong pictures: neither is offered. Raises UserError unless the
    `ncnn` extra is installed.
    """

    name: ClassVar[str] = "ncnn"
    suffix: ClassVar[str] = ".ncnn.param"
    layout: ClassVar[Literal["CHW"]] = "CHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.name, "ncnn", "pnnx")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """Convert `network` into `path` and the .bin beside it; see `Format.write`."""
        with atomic_write(path) as draft:
            with muted(), torch.no_grad():
                traced = torch.jit.trace(network.module, tuple(network.inputs.values()), check_trace=False)
                traced.save(str(draft.with_name("traced.pt")))
            layers, weights = _convert(draft.parent, network, precision == "fp16")
            draft.write_text(_named(layers, tuple(network.inputs), network.outputs))
            weights.replace(draft.with_suffix(".bin"))

    def open(self, path: Path, threads: int) -> Runner:
        """Load `path` and its .bin for the CPU. Raises UserError if one is missing or damaged."""
        return NcnnRunner(path, threads)

    def runtime(self) -> str:
        """Name and version of ncnn."""
        return f"ncnn {version('ncnn')}"


def _convert(folder: Path, network: Network, half: bool) -> tuple[str, Path]:
    """Run pnnx on `folder`/traced.pt, in that folder, where it leaves files of many kinds: the layers and the .bin."""
    import pnnx

    shapes = ",".join(str(list(value.shape)).replace(" ", "") for value in network.inputs.values())
    command = [pnnx.EXEC_PATH, "traced.pt", f"inputshape={shapes}", f"fp16={int(half)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    layers, weights = folder / "traced.ncnn.param", folder / "traced.ncnn.bin"
    kinds = [line.split()[0] for line in layers.read_text().splitlines()[2:]] if layers.is_file() else []
    unknown = [kind for kind in kinds if "." in kind or "::" in kind]  # names of PyTorch, not of ncnn
    if done.returncode or not weights.is_file() or unknown:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = f"it has no layer for {unknown[0]}" if unknown else (said or ["pnnx failed"])[-1]
        raise UserError(f"format ncnn cannot convert {network.name}: {reason}")
    return layers.read_text(), weights


def _named(layers: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """A .param text whose blobs in0, out0, ... have the names of the network, with the outputs last, in their order.

    ncnn lists outputs as they appear; a layer that does nothing lets each appear in its place.
    """
    magic, counts, *lines = layers.splitlines()
    names = {f"in{index}": name for index, name in enumerate(inputs)}
    renamed = [_rename(line, names) for line in lines]
    renamed += [f"{'Noop':<24} {name:<24} 1 1 out{index} {name}" for index, name in enumerate(outputs)]
    layer_count, blob_count = (int(count) + len(outputs) for count in counts.split())
    return "\n".join([magic, f"{layer_count} {blob_count}", *renamed]) + "\n"


def _rename(line: str, names: dict[str, str]) -> str:
    """One layer: kind, name, numbers of inputs and outputs, their blobs, options."""
    kind, name, takes, gives, *rest = line.split()
    blobs = int(takes) + int(gives)
    rest = [names.get(word, word) if index < blobs else word for index, word in enumerate(rest)]
    return f"{kind:<24} {name:<24} {takes} {gives} {' '.join(rest)}"


class NcnnRunner:
    """A loaded network on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        import ncnn

        weights = path.with_suffix(".bin")
        for file in (path, weights):
            if not file.is_file():
                raise MissingFile(file, "is not a file: an ncnn network is a .param and a .bin file of one name")
        with weights.open("rb") as file:
            half = file.read(len(HALF)) == HALF
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads, options.use_vulkan_compute, options.use_bf16_storage = threads, False, False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = half
        with muted():
            failed = self.net.load_param(str(path)) or self.net.load_model(str(weights))
        if failed:
            raise DamagedFile(path, f"or {weights.name} is damaged: export again")
        self.inputs, self.outputs = self.net.input_names(), self.net.output_names()

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """See `Runner`."""
        import ncnn

        extractor = self.net.create_extractor()
        for name, value in zip(self.inputs, inputs, strict=True):
            extractor.input(name, ncnn.Mat(np.ascontiguousarray(value[0])).clone())
        return tuple(self._extract(extractor, name) for name in self.outputs)

    def _extract(self, extractor: Any, name: str) -> NDArray[np.float32]:
        """A copy of one output, with a batch of 1; the memory of the original goes away with the extractor."""
        status, blob = extractor.extract(name)
        if status:
            raise RuntimeError(f"ncnn could not compute {name}: status {status}")
        return np.array(blob, dtype=np.float32)[None]
