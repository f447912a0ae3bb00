"""Any swapper that was saved as a TorchScript or torch.export program: a config says how to talk to it."""

import warnings
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher, TeacherRecord
from teachers.weights import verify_file

_SUFFIXES = {".pt": "torchscript", ".pt2": "torch_export"}
_DRY_BATCH = 3


class ModuleTeacher(FrozenTeacher):
    """Runs a saved program with two inputs, the target and the identity, and one image as its output.

    path: a TorchScript file (.pt) or a torch.export file (.pt2). record: how it sees faces and what it answers, see
    TeacherRecord; its source is an image or the embedding of the encoder that serves the student. frame: template of
    the crops given. source_first: whether the identity comes before the target among the inputs.

    A saved program is code: use no file that you would not run. TorchScript is interpreted without Python, but its
    operations reach files. A .pt2 file is worse: `torch.export.load` falls back to unrestricted pickle, evaluates
    strings of the file as Python, and looks functions up by name, so it can do whatever Python can, before the first
    tensor is computed. That is why a .pt2 file must come with the sha256 that its publisher states (record.sha256).

    The program moves to the device of the trainer; a device that was written into its operations when it was saved
    does not. At construction it runs once on the CPU. Raises UserError for a missing or altered file, one that is no
    such program, another number of inputs, an output of another shape or that is not finite, and a program that
    cannot work on batches or mixes the samples of one, as one saved in training mode does.
    """

    def __init__(self, path: str | Path, record: TeacherRecord, frame: str, source_first: bool) -> None:
        path = Path(path)
        _check_file(path, record)
        super().__init__(replace(record, loader=_SUFFIXES[path.suffix]), frame)
        self.source_first = source_first
        self.program = _Program(path)
        self._dry_run(path)
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

    def _dry_run(self, path: Path) -> None:
        """Noise in, another strength per sample: the answer must fit, be finite and treat every sample by itself."""
        generator = torch.Generator().manual_seed(0)
        size, spec = self.record.target.size, self.record.source
        shape = (spec.dim,) if spec.crop is None else (3, spec.crop.size, spec.crop.size)
        count = _DRY_BATCH if self.record.batchable else 1
        target, given = (torch.rand(count, *s, generator=generator) for s in ((3, size, size), shape))
        target = target * torch.linspace(0.2, 1, count).view(-1, 1, 1, 1)
        answer = self._attempt(path, target, given)
        if answer.shape != target.shape:
            raise UserError(
                f"teacher file {path} answers {tuple(answer.shape)} to targets {tuple(target.shape)}: set "
                "record.target.size to its working size"
            )
        if not answer.isfinite().all():
            raise UserError(f"teacher file {path} answers with numbers that are not finite: it cannot teach")
        if self.record.batchable:
            alone = self._attempt(path, target[:-1], given[:-1])
            if not torch.allclose(alone, answer[:-1], rtol=1e-2, atol=1e-2):
                raise UserError(
                    f"teacher file {path} answers differently when the batch changes: save it in eval mode, or set "
                    "record.batchable=false"
                )

    @torch.no_grad()
    def _attempt(self, path: Path, target: Tensor, given: Tensor) -> Tensor:
        try:
            return self._run(target, given)
        except UserError:
            raise
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            hint = "check sizes, source and source_first"
            if len(target) > 1 and self._works_alone(target, given):
                hint = "it takes one face at a time, so set record.batchable=false"
            raise UserError(
                f"teacher file {path} fails on targets {tuple(target.shape)} and identities {tuple(given.shape)} "
                f"({_last_line(error)}): {hint}"
            ) from error

    def _works_alone(self, target: Tensor, given: Tensor) -> bool:
        try:
            self._run(target[:1], given[:1])
        except (RuntimeError, AssertionError, ValueError, TypeError):
            return False
        return True


class _Program(Frozen):
    """A loaded file as a module that moves with its parent but never hears of train() and eval()."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        reader = _load_script if path.suffix == ".pt" else _load_exported
        try:
            self.net, inputs = reader(path)
        except Exception as error:  # what an altered program makes its reader raise can be almost anything
            kind = "TorchScript" if path.suffix == ".pt" else "torch.export"
            raise UserError(
                f"teacher file {path} cannot be read as a {kind} program ({_last_line(error)}): save it with "
                f"{'torch.jit.save' if path.suffix == '.pt' else 'torch.export.save'}, weights alone are not enough"
            ) from error
        if inputs != 2:
            raise UserError(f"teacher file {path} has {inputs} inputs: it must take two, the target and the identity")

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
    """The module and the number of its inputs. Archives of torch 2.7 and older are refused, unread."""
    with ZipFile(path) as archive:
        if not any(name.endswith("/archive_format") for name in archive.namelist()):
            raise ValueError("it has no archive_format")
    program = torch.export.load(path)
    return program.module(), len(program.graph_signature.user_inputs)


def _check_file(path: Path, record: TeacherRecord) -> None:
    """Refuse what cannot be run, before anything of the file is read as a program."""
    if path.suffix not in _SUFFIXES:
        raise UserError(f"teacher file {path} must end in .pt (TorchScript) or .pt2 (torch.export)")
    if path.suffix == ".pt2" and record.sha256 is None:
        raise UserError(
            f"teacher file {path} can run any code when it is loaded: state the sha256 of the file you trust as "
            "record.sha256"
        )
    verify_file(path, record)
    if not is_zipfile(path):
        raise UserError(f"teacher file {path} is no program saved by torch: it is not even a zip archive")
    sizes = [record.target.size, *([record.source.crop.size] if record.source.crop else [])]
    if None in sizes:
        raise UserError("record.target.size and record.source.crop.size must be given for a teacher from a file")
    if record.source.kind not in ("shared_embedding", "image"):
        raise UserError(f"record.source.kind={record.source.kind} is impossible here: choose shared_embedding or image")


def _last_line(error: Exception) -> str:
    """The line of a long message that says what went wrong: the last one for programs that print a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
