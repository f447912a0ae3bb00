"""Any swapper that was saved as a TorchScript or torch.export program: a config says how to talk to it."""

import warnings
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, ForeignFile, OptionError, UserError
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.checks.dry_run import check_sizes, dry_run, reason
from teachers.record import TeacherRecord
from teachers.weight_files import verify_file

_SUFFIXES = (".pt", ".pt2")


class TorchProgramTeacher(FrozenTeacher):
    """Runs a saved program with two inputs, the target and the identity, and one image as its output.

    path: a TorchScript file (.pt) or a torch.export file (.pt2). record: how it sees faces and what it answers, see
    TeacherRecord; its source is an image or the embedding of the encoder that serves the student.
    crop_template: template of the crops given.
    source_first: whether the identity comes before the target among the inputs.

    A saved program is code: use no file that you would not run. TorchScript is interpreted without Python, but its
    operations reach files. PyTorch's loader of .pt2 files is worse, it does whatever a file says: such a file must come
    with the sha256 that its publisher states (record.sha256), and any other is refused unread.

    The program moves to the device of the trainer; a device that was written into its operations when it was saved
    does not. At construction it runs once on the CPU. Raises UserError for a missing or altered file, one that is no
    such program, another number of inputs, an output of another shape or that is not finite, and a program that
    cannot work on batches or mixes the samples of one, as one saved in training mode does.
    """

    def __init__(self, path: str | Path, record: TeacherRecord, crop_template: str, source_first: bool) -> None:
        path = Path(path)
        _check_file(path, record)
        super().__init__(record, crop_template)
        self.source_first, self.weights_file = source_first, path
        self.program = _Program(path)
        dry_run(self._run, self.record, path, "sizes, source and source_first")
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return what the program answers, (N, 3, s, s)."""
        given = self.source_crop(batch) if self.record.source.kind == "image" else source.embedding
        return self._run(target, given)

    def _run(self, target: Tensor, given: Tensor) -> Tensor:
        answer = self.program(given, target) if self.source_first else self.program(target, given)
        if self.record.returns_mask:
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise UserError(
                    f"teacher {self.record.name} does not return an image and a mask: set returns_mask=false"
                )
            answer = answer[0]
        if not isinstance(answer, Tensor):
            raise UserError(
                f"teacher {self.record.name} returns a {type(answer).__name__}, one image tensor is expected: save it "
                "anew, or set record.returns_mask=true if an image and a mask"
            )
        return answer


class _Program(Frozen):
    """A loaded file as a module that moves with its parent but never hears of train() and eval()."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        reader = _load_script if path.suffix == ".pt" else _load_exported
        try:
            self.net, inputs = reader(path)
        except UserError:
            raise
        except Exception as error:  # what an altered program makes its reader raise can be almost anything
            kind = "TorchScript" if path.suffix == ".pt" else "torch.export"
            raise DamagedFile(
                path,
                f"cannot be read as a {kind} program ({reason(error)}): save it with "
                f"{'torch.jit.save' if path.suffix == '.pt' else 'torch.export.save'}, weights alone are not enough",
            ) from error
        if inputs != 2:
            raise ForeignFile(path, f"has {inputs} inputs: it must take two, the target and the identity")

    def train(self, mode: bool = True) -> "_Program":
        """Do nothing: exported programs refuse to switch, and a script was switched when it was read."""
        return self

    def forward(self, first: Tensor, second: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the program on its two inputs."""
        return self.net(first, second)


def _load_script(path: Path) -> tuple[nn.Module, int]:
    """The module, in eval mode, and the number of inputs that it cannot do without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        net = torch.jit.load(path, map_location="cpu")
    if hasattr(net, "training"):
        net.eval()
    return net, sum(not argument.has_default_value() for argument in net.forward.schema.arguments[1:])


def _load_exported(path: Path) -> tuple[nn.Module, int]:
    """The module and the number of its inputs."""
    program = torch.export.load(path)
    return program.module(), len(program.graph_signature.user_inputs)


def _check_file(path: Path, record: TeacherRecord) -> None:
    """Refuse what cannot be run, before anything of the file is read as a program."""
    if path.suffix not in _SUFFIXES:
        raise ForeignFile(path, "must end in .pt (TorchScript) or .pt2 (torch.export)")
    if path.suffix == ".pt2" and record.sha256 is None:
        raise OptionError(
            "record.sha256", None, f"must be that of the file you trust: {path} can run any code when it is loaded"
        )
    verify_file(path, record)
    if not is_zipfile(path):
        raise ForeignFile(path, "is no program saved by torch: it is not even a zip archive")
    check_sizes(record)
    if record.source.kind not in ("shared_embedding", "image"):
        raise OptionError(
            "record.source.kind", record.source.kind, "is impossible here: choose shared_embedding or image"
        )
