"""torch.export: the network as a PyTorch program, which needs no code of this package any more."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import fx

from idn.errors import DamagedFile, UserError
from idn.export.contract import Arrays, Precision, Runner
from idn.export.suppress_output import quiet
from idn.export.torch_runtime import TorchRunner, converted
from idn.files.atomic import atomic_write
from idn.types import Network

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class TorchExportFormat:
    """A program of torch.export, run by PyTorch operator by operator, in the type of its weights.

    dynamic_batch: any number of pictures per call; they share the inputs that the network calls shared.
    dynamic_size: any height and width of the target that the network can work on, from twice its stride on.
    Both False: the sizes of the examples, nothing else.

    A program is code, which PyTorch runs when it is opened: open files of people you trust.
    """

    dynamic_batch: bool = False
    dynamic_size: bool = False

    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = False
    runs_code: ClassVar[bool] = True

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises UserError if the network works for one picture, or for one size only."""
        batched = set(network.inputs) - set(network.shared) if self.dynamic_batch else set()
        inputs = (torch.cat([x] * 2) if name in batched else x for name, x in network.inputs.items())
        module, sizes = converted(network, precision), self._sizes(network, precision)
        try:
            with quiet():
                program = torch.export.export(module, tuple(inputs), dynamic_shapes=sizes)
        except (ValueError, RuntimeError) as error:
            if not (self.dynamic_batch or self.dynamic_size):
                raise
            raise UserError(
                f"format pt2 cannot leave the batch or the size of {network.name} open: "
                "set its dynamic_batch and dynamic_size to false"
            ) from error
        with atomic_write(path) as draft, quiet():
            torch.export.save(_anonymous(program), draft)

    def open(self, path: Path, threads: int) -> Runner:
        """As Format."""
        try:
            with quiet():
                module = torch.export.load(path).module()
        except MemoryError:
            raise
        except Exception as error:  # what a damaged file makes PyTorch raise can be almost anything
            raise DamagedFile(path, "is damaged or no program of torch.export: export it again") from error
        return TorchRunner(module.to(memory_format=torch.channels_last), threads, channels_last=True)

    def runtime(self) -> str:
        """As Format."""
        return f"PyTorch {torch.__version__}"

    def _sizes(self, network: Network, precision: Precision) -> tuple[object, ...] | None:
        """Which sizes of the inputs stay open, in the form that torch.export asks for."""
        if not (self.dynamic_batch or self.dynamic_size):
            return None
        batch = {0: torch.export.Dim("batch", min=1)} if self.dynamic_batch else {}
        sides = {}
        if self.dynamic_size and network.stride:
            rows, columns = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
            one = network.stride == 1
            sides = {2: rows, 3: columns} if one else {2: network.stride * rows, 3: network.stride * columns}
        known = {name: {} if name in network.shared else batch for name in network.inputs}
        sizes = tuple(axes | (sides if name == "target" else {}) for name, axes in known.items())
        return sizes if precision == "fp32" else (sizes,)


def _anonymous(program: "ExportedProgram") -> "ExportedProgram":
    """`program`, changed in place, without example inputs and without the lines of source that it comes from."""
    program.example_inputs = None
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta = {key: value for key, value in node.meta.items() if key == "val"}
    return program
