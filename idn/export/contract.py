"""What a converter gets, what it must provide, and how everything that leaves PyTorch is talked to."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from idn.errors import MissingExtra, UserError
from idn.types import Network

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What the weights are kept in, and where a runtime can, what is computed in."""

Arrays = tuple[NDArray[np.float32], ...]
"""Inputs or outputs of a network in their order: float32, maps as (N, C, H, W) whatever the file wants."""


class Runner(Protocol):
    """A loaded file, ready to run in its runtime."""

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """Inputs as the network's own module takes them; copies of the outputs, in float32."""
        ...


class Format(Protocol):
    """One target format: writes a network, and runs what it wrote."""

    name: str
    """As users choose it: "onnx"."""
    suffix: str
    """Of its file or folder: ".onnx"."""
    layout: Literal["NCHW", "NHWC", "CHW"]
    """Of the maps that the file itself takes and gives."""
    precisions: tuple[Precision, ...]
    """Those that `write` can."""
    runtime_kernels: bool
    """Whether it runs convolutions whose kernels are inputs well; if not, it is given the sum over taps instead."""

    own_process: bool
    """Whether its converter or runtime works in a process of its own: one that can take its process down."""
    runs_code: bool
    """Whether its file is a program that can do anything when it is opened; if not, a file is data for its runtime."""

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """What a file computes in, where the machine can: a higher precision if only its weights are kept in this one.

        per_frame: whether its network runs once per frame.
        """
        ...

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """Convert `network` into `path`, all of it or nothing.

        precision: one of `precisions`. calibration: inputs for int8, each as for `Runner`, at least one; other
        precisions do not look at it. Raises UserError for what this format cannot express, and for an option that its
        converter does not know.
        """
        ...

    def open(self, path: Path, threads: int) -> Runner:
        """Load a file of this format. threads: at least 1. Raises UserError if the file is damaged."""
        ...

    def runtime(self) -> str | None:
        """Name and version of what `open` runs in, such as "ONNX Runtime 1.32.0"; None if no machine like this can."""
        ...


class NeedlessFile(UserError):
    """A network that a format has no file for and that needs none, as it is a file already. Said, and no failure."""


def require(extra: str, *modules: str) -> None:
    """Raise UserError that names the extra to install unless all `modules` can be imported."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtra(f"format {extra} needs {missing[0]}:", extra)
