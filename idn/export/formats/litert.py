"""LiteRT, formerly TensorFlow Lite: .tflite files for Android and small devices."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from idn.errors import DamagedFile
from idn.export.contract import Arrays, Precision, Runner, require
from idn.export.converters import environment
from idn.export.converters.program import write_program
from idn.export.suppress_output import muted, quiet
from idn.files.atomic import atomic_write
from idn.types import Network


@dataclass(frozen=True)
class LiteRTFormat:
    """One .tflite file with a signature that names the inputs and outputs; its maps are (N, H, W, C).

    The converter, litert-torch, wants another PyTorch than this package: see converters/environment.py. fp16 keeps
    the weights in half precision. int8 keeps them per channel; the network that runs once per frame computes with
    calibrated int8 activations too, but for the layers that feed a sigmoid. Inputs and outputs are float32 in every
    file. Raises UserError unless the `litert` extra is installed.
    """

    name: ClassVar[str] = "litert"
    suffix: ClassVar[str] = ".tflite"
    layout: ClassVar[Literal["NHWC"]] = "NHWC"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.name, "ai_edge_litert")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return "int8" if precision == "int8" and per_frame else "fp32"

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """Convert `network` into `path`; see `Format.write`.

        Raises UserError if the converter's environment was not made yet, and with the reason of a failed conversion.
        """
        environment.interpreter(self.name)
        with atomic_write(path) as draft:
            folder = draft.parent
            with quiet():
                write_program(network.module, tuple(network.inputs.values()), folder)
            integers = self.computed_in(network.per_frame, precision) == "int8"
            if integers:
                columns = (np.concatenate(column) for column in zip(*calibration, strict=True))
                np.savez(folder / "calibration.npz", **dict(zip(network.inputs, columns, strict=True)))
            request = {
                "folder": str(folder.absolute()),
                "path": str(draft.absolute()),
                "inputs": {name: list(value.shape) for name, value in network.inputs.items()},
                "outputs": list(network.outputs),
                "delicate": list(network.delicate),
                "bits": {"fp32": 32, "fp16": 16, "int8": 8}[precision],
            }
            environment.convert(self.name, request)

    def open(self, path: Path, threads: int) -> Runner:
        """Load `path` for XNNPACK on `threads` threads. Raises UserError if the file is missing or damaged."""
        return LiteRTRunner(path, threads)

    def runtime(self) -> str:
        """Name and version of the interpreter."""
        return f"LiteRT {importlib.metadata.version('ai-edge-litert')}"


class LiteRTRunner:
    """A loaded .tflite file whose maps are (N, H, W, C); callers see (N, C, H, W)."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with muted():
                self.interpreter = Interpreter(str(path), num_threads=threads)
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DamagedFile(path, "is no complete .tflite file: export it again") from error
        self.inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self.outputs = [detail["index"] for detail in self.interpreter.get_output_details()]

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """See `Runner`."""
        for index, value in zip(self.inputs, inputs, strict=True):
            native = value.transpose(0, 2, 3, 1) if value.ndim == 4 else value
            self.interpreter.set_tensor(index, np.ascontiguousarray(native))
        self.interpreter.invoke()
        found = (self.interpreter.get_tensor(index) for index in self.outputs)
        return tuple(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value for value in found)
