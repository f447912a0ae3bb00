"""torch.export: the network as a PyTorch program, which needs no code of this package any more."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import fx

from idn.errors import UserError
from idn.export.contract import Arrays, Network, Precision, Runner
from idn.export.quiet import quiet
from idn.export.torch_runtime import TorchRunner, converted
from idn.export.whole import whole
from idn.models.network import STRIDE

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.export.pt2_archive._package import PT2ArchiveReader

ENTRIES = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|\.data/\w+"
)
"""Names in an archive that holds one program and its tensors, no compiled code and no other objects."""
WORD = re.compile(r"[\w.+*-]*")
"""Names and types: nothing that could be an instruction."""
TEXTS = {
    "target": re.compile(
        r"torch\.ops\.aten\.(?!from_file)_?[a-z][a-z0-9_]*\.\w+|"
        r"torch\.ops\.higher_order\.wrap_with_autocast|_operator\.(getitem|mul|add|floordiv)"
    ),
    "expr_str": re.compile(r"(Mul|Add|Pow|Integer|Symbol|positive=True|integer=True|'s\d+'|-?\d+|[(), ])+"),
    "guards_code": re.compile(r"(L\['\w+'\](\[\d+\])?\.size\(\)\[\d\]|torch\.sym_max|\d+|[-+*/%()=!<>, ])+"),
    "in_spec": re.compile(r'([\w.\[\]{}":, ](?!__))*'),
    "out_spec": re.compile(r'([\w.\[\]{}":, ](?!__))*'),
}
"""What PyTorch evaluates or looks up when it opens a program, by its key: operators of tensors, arithmetic of sizes."""


@dataclass(frozen=True)
class TorchExportFormat:
    """A program of torch.export, run by PyTorch operator by operator, in the type of its weights.

    dynamic_batch: any number of pictures per call; dynamic_size: any height and width of the target that 32 divides, 64
    or more. Both False: the sizes of the examples, nothing else.

    PyTorch's own loader runs what a file tells it to: it unpickles, evaluates texts, loads libraries. So `open` looks
    at a file first, and refuses one that holds more than tensors and operators on them. That is no sandbox: open
    files of people you trust.
    """

    dynamic_batch: bool = False
    dynamic_size: bool = False

    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16")
    runtime_kernels: ClassVar[bool] = True

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """As Format. Raises UserError if the network works for one picture, or for one size only."""
        inputs = (torch.cat([value] * 2) if self.dynamic_batch else value for value in network.inputs.values())
        module, sizes = converted(network, precision), self._sizes(network, precision)
        try:
            with quiet():
                program = torch.export.export(module, tuple(inputs), dynamic_shapes=sizes)
        except (ValueError, RuntimeError) as error:
            if not (self.dynamic_batch or self.dynamic_size):
                raise
            raise UserError(
                f"format=pt2 cannot leave the batch or the size of {network.name} open: "
                "set format.pt2.dynamic_batch and format.pt2.dynamic_size to false"
            ) from error
        with whole(path) as draft, quiet():
            torch.export.save(_anonymous(program), draft)

    def open(self, path: Path, threads: int) -> Runner:
        """As Format. Raises UserError also for a file that asks for more than operators on tensors."""
        try:
            with quiet():
                from torch.export.pt2_archive._package import PT2ArchiveReader, load_pt2

                with PT2ArchiveReader(str(path)) as archive:
                    check_program(archive, path)
                module = load_pt2(str(path)).exported_programs["model"].module()  # torch.export.load also unpickles
        except (UserError, MemoryError):
            raise
        except Exception as error:  # what a damaged file makes PyTorch raise can be almost anything
            raise UserError(f"{path} is damaged or no program of torch.export: export it again") from error
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
        if self.dynamic_size:
            sides = {2: STRIDE * torch.export.Dim("rows", min=2), 3: STRIDE * torch.export.Dim("columns", min=2)}
        sizes = tuple(batch | (sides if name == "target" else {}) for name in network.inputs)
        return sizes if precision == "fp32" else (sizes,)


def _anonymous(program: "ExportedProgram") -> "ExportedProgram":
    """`program`, changed in place, without example inputs and without the lines of source that it comes from."""
    program.example_inputs = None
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta = {key: value for key, value in node.meta.items() if key == "val"}
    return program


def check_program(archive: "PT2ArchiveReader", path: Path) -> None:
    """Raise UserError unless `archive`, which is at `path`, holds tensors and a program of operators on them, only."""
    foreign = [name for name in archive.get_file_names() if not ENTRIES.fullmatch(name)]
    for kind in ("weights", "constants"):
        config = json.loads(archive.read_string(f"data/{kind}/model_{kind}_config.json"))["config"]
        foreign += [name for name, entry in config.items() if entry["use_pickle"]]
    if archive.read_bytes("data/sample_inputs/model.pt"):
        foreign.append("sample inputs")
    foreign += _foreign(json.loads(archive.read_string("models/model.json")), WORD)
    if foreign:
        raise UserError(f"{path} holds more than a network ({foreign[0][:80]}): open only files of `idn export`")


def _foreign(value: object, allowed: re.Pattern[str]) -> Iterator[str]:
    """The texts in a parsed JSON value that are not of their kind."""
    if isinstance(value, str) and not allowed.fullmatch(value):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _foreign(item, allowed)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _foreign(key, WORD)
            yield from _foreign(item, TEXTS.get(key, WORD))
