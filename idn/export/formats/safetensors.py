"""Safetensors: the weights alone, for those who write the network themselves, and for PyTorch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch

from idn.errors import ForeignFile
from idn.export.contract import Arrays, NeedlessFile, Precision, Runner
from idn.export.torch_runtime import DTYPES, TorchRunner
from idn.files.tensors import load_strict, read_metadata, read_tensors, write_tensors
from idn.students.student_file import build_network
from idn.types import Network

NETWORK = "idn.network"
"""Key of the metadata under which a file says, as JSON, what its tensors belong to."""


@dataclass(frozen=True)
class SafetensorsFormat:
    """Weights under the names of the PyTorch modules of this package, and in the metadata what they belong to.

    The metadata, JSON under "idn.network", name the network, the shapes of its inputs, its outputs, and the recipe by
    which the student's package builds it again: architecture, its arguments, product. The file is opened with that and
    nothing else. An encoder has no such recipe, so it cannot be written. In fp16 and bf16 the weights take half the
    space, and are run in float32. Opening a file executes nothing of it.
    """

    name: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return "fp32"

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises NeedlessFile for a network without a recipe."""
        module = network.module
        if network.recipe is None:
            raise NeedlessFile(
                f"format safetensors holds the networks of a student, not {network.name}: keep its own file of weights "
                "beside these"
            )
        inputs = {name: list(value.shape) for name, value in network.inputs.items()}
        facts = {"name": network.name, "inputs": inputs, "outputs": network.outputs, "recipe": dict(network.recipe)}
        dtype = DTYPES[precision]
        tensors = {
            name: value.to(dtype) if value.is_floating_point() else value for name, value in module.state_dict().items()
        }
        write_tensors(path, tensors, {NETWORK: json.dumps(facts)})

    def open(self, path: Path, threads: int) -> Runner:
        """As Format. Raises UserError that names the tensors if they do not fit what the file says it is."""
        metadata, tensors = read_metadata(path), read_tensors(path)
        if NETWORK not in metadata:
            raise ForeignFile(path, "is no exported network: choose a file written by `idn export`")
        try:
            facts = json.loads(metadata[NETWORK])
            module = build_network(facts["name"], facts["recipe"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ForeignFile(path, f"names a network that does not exist ({error}): export it again") from error
        load_strict(module, tensors, str(path))
        return TorchRunner(module.eval().to(memory_format=torch.channels_last), threads, channels_last=True)

    def runtime(self) -> str:
        """As Format."""
        return f"PyTorch {torch.__version__}"
