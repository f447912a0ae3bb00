"""Core ML packages for iPhones, iPads and Macs."""

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from idn.errors import DamagedFile, FileError, OptionError, UserError
from idn.export.contract import Arrays, Precision, Runner, require
from idn.export.suppress_output import muted
from idn.files.atomic import atomic_write
from idn.types import Network

OLDEST = 16
"""Deployment targets from iOS 16 on have what every precision needs."""


@dataclass(frozen=True)
class CoreMLFormat:
    """One .mlpackage, a folder with an ML program, whose inputs and outputs are float32 arrays.

    minimum_target: the oldest system that the package shall run on, such as iOS16, macOS13 or later. Newer targets may
    be faster. fp16 computes in half precision, which the Neural Engine needs. int8 is of the weights alone, per
    channel, and computes as fp16: activations can be calibrated only where Core ML runs, on a Mac. Raises UserError for
    another target, and if the extra is not installed.
    """

    minimum_target: str = "iOS16"

    name: ClassVar[str] = "coreml"
    suffix: ClassVar[str] = ".mlpackage"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.name, "coremltools")
        known = _targets()
        if self.minimum_target not in known:
            raise OptionError("minimum_target", self.minimum_target, f"is unknown: choose of {', '.join(known)}")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return "fp16" if precision == "int8" else precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """Convert `network` into the folder `path`; see `Format.write`."""
        with atomic_write(path) as draft, muted():
            self._convert(network, precision).save(str(draft))

    def _convert(self, network: Network, precision: Precision) -> Any:
        import coremltools as ct

        program = torch.export.export(network.module, tuple(network.inputs.values())).run_decompositions({})
        compute = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
        shapes = {name: tuple(value.shape) for name, value in network.inputs.items()}
        try:
            model = ct.convert(
                program,
                convert_to="mlprogram",
                inputs=[ct.TensorType(name=name, shape=shape, dtype=np.float32) for name, shape in shapes.items()],
                outputs=[ct.TensorType(name=name, dtype=np.float32) for name in network.outputs],
                compute_precision=compute,
                minimum_deployment_target=getattr(ct.target, self.minimum_target),
                skip_model_load=True,
            )
        except (NotImplementedError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise UserError(f"format coreml cannot convert {network.name}: {reason}") from error
        return _with_small_weights(model) if precision == "int8" else model

    def open(self, path: Path, threads: int) -> Runner:
        """Load `path`; Core ML itself chooses processors and threads. Raises UserError elsewhere than on a Mac."""
        if self.runtime() is None:
            raise FileError(path, "is run by Core ML, which only Macs, iPhones and iPads have: open it there")
        return CoreMLRunner(path)

    def runtime(self) -> str | None:
        """Core ML and the version of macOS; None on other systems."""
        return f"Core ML of macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else None


def _targets() -> list[str]:
    """Deployment targets with names like iOS16 or macOS13 that are new enough."""
    with muted():
        import coremltools as ct
    oldest = getattr(ct.target, f"iOS{OLDEST}")
    return [name for name in ct.target.__members__ if ct.target[name] >= oldest]


def _with_small_weights(model: Any) -> Any:
    """`model` with symmetric int8 weights per output channel."""
    from coremltools.optimize import coreml

    each = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel", weight_threshold=0)
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=each))


class CoreMLRunner:
    """A loaded package, on a Mac."""

    def __init__(self, path: Path) -> None:
        import coremltools as ct

        try:
            with muted():
                self.model = ct.models.MLModel(str(path))
        except Exception as error:  # Core ML's own errors arrive as plain exceptions of many kinds
            raise DamagedFile(path, "is no complete Core ML package: export it again") from error
        description = self.model.get_spec().description
        self.inputs = [value.name for value in description.input]
        self.outputs = [value.name for value in description.output]

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """See `Runner`."""
        found = self.model.predict(dict(zip(self.inputs, inputs, strict=True)))
        return tuple(np.array(found[name], dtype=np.float32) for name in self.outputs)
