"""Student files as models: the static network of each source, in the runtime that is asked for."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from idn.encoders.description import describe_encoder
from idn.errors import ForeignFile, OptionError, UserError
from idn.files.digests import file_sha256
from idn.students.protocol import SwapStudent
from idn.students.student_file import StudentFile, load_student, read_student_file
from idn.swap.models.model import Model, Person
from idn.swap.runtimes import baked_person, runtime_name
from idn.swap.source_identity import load_identity
from idn.types import IdentityEncoder, IdentityFeatures

LINEAGE = ("teacher", "teacher_licence", "encoder", "encoder_licence")
"""Notes of a student's file that travel into pictures."""
SIZE = 224
"""Pixels of a crop where the file of a student does not say: those of the published one."""


class StudentModel(Model):
    """A student of any architecture.

    name, notes: see `Model`.
    student: in eval mode, on the CPU.
    encoder: the one that it was trained with, built for its template.
    template, size: of its crops.
    device: where the encoder runs, and the student with runtime="torch".
    runtime: "torch", "onnx", "openvino" or "auto"; see idn.swap.runtimes.
    threads: of the runtime, for one call.
    Raises OptionError for a size that the student cannot work on, or a runtime that is not there.
    """

    def __init__(
        self,
        name: str,
        student: SwapStudent,
        encoder: IdentityEncoder,
        template: str,
        size: int,
        notes: Mapping[str, str],
        device: torch.device,
        runtime: str = "torch",
        threads: int = 1,
    ) -> None:
        if size < student.stride or size % student.stride:
            raise OptionError("size", size, f"must be a multiple of {student.stride}")
        self.student, self.device = student, device
        self.encoder = encoder.to(device) if isinstance(encoder, torch.nn.Module) else encoder
        self._runtime, self._threads = runtime, threads
        drawn = getattr(encoder, "drawn_only", False)
        super().__init__(name, template, size, notes, runtime_name(runtime, device), drawn_only=drawn)

    @torch.inference_mode()
    def look(self, crops: Tensor) -> IdentityFeatures:
        """See `Model`."""
        seen = self.encoder(crops.to(self.device))
        return IdentityFeatures(seen.embedding.clone(), seen.features.contiguous().clone())

    def kept(self, path: Path) -> IdentityFeatures:
        """See `Model`."""
        return load_identity(path, describe_encoder(self.encoder))

    def person(self, who: IdentityFeatures | None, crop: Tensor | None) -> Person:
        """See `Model`. The crop is not asked."""
        if who is None:
            raise UserError(f"{self.name} puts one person into another: give source=PHOTO")
        return baked_person(self.student, who, self.size, self._runtime, self.device, self._threads)


def open_student(
    path: Path,
    encoder: IdentityEncoder,
    device: torch.device,
    runtime: str = "torch",
    threads: int = 1,
    size: int | None = None,
) -> StudentModel:
    """The student of a file. size: of its crops in pixels; None for that of its training. The rest as StudentModel.

    Raises UserError for another encoder and for a file that does not tell its template, and as StudentModel does.
    """
    file = read_student_file(path)
    check_framing(file, encoder)
    notes = {"model": path.name, "model_sha256": file_sha256(path)}
    notes |= {key: file.notes[key] for key in LINEAGE if key in file.notes}
    side = size if size is not None else file.size or SIZE
    student = load_student(path).requires_grad_(False).eval()
    return StudentModel(path.name, student, encoder, file.template, side, notes, device, runtime, threads)


def check_framing(file: StudentFile, encoder: IdentityEncoder) -> None:
    """Raise UserError unless `encoder` is the student's own, and built for its crops."""
    if file.template is None:
        raise ForeignFile(
            file.path, "does not say how its crops are aligned: write it again with a `template` in its notes"
        )
    file.check_encoder(encoder)
    framing = getattr(encoder, "crop_template", getattr(getattr(encoder, "net", None), "crop_template", file.template))
    if framing != file.template:
        raise UserError(
            f"the encoder expects crops of {framing}, {file.path} works on {file.template}: build it for these"
        )
