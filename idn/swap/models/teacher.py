"""Teachers as models: any frozen swapper, without a mask of its own."""

from typing import Any, Protocol

import torch
from torch import Tensor

from idn.errors import UserError
from idn.files.digests import weights_digest
from idn.images import resize
from idn.swap.models.model import Model, Person
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch, SwapOutput


class Teacher(Protocol):
    """What is asked of a teacher; see teachers.base.FrozenTeacher."""

    record: Any
    """Its name and licence, and what it reads of a source."""
    encoder: IdentityEncoder | None
    """The recogniser that it brings, if it does."""

    def __call__(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1]."""
        ...


class TeacherModel(Model):
    """A frozen swapper in PyTorch.

    name: as it is chosen.
    teacher: built for crops of `template`, and acquainted with `encoder`.
    encoder: that it shares with students, built for the same crops; it also tells who is who in reports.
    template, size: of the crops that it is shown.
    device: where all run.
    """

    def __init__(
        self, name: str, teacher: Teacher, encoder: IdentityEncoder, template: str, size: int, device: torch.device
    ) -> None:
        self.teacher, self.encoder = (
            part.to(device) if isinstance(part, torch.nn.Module) else part for part in (teacher, encoder)
        )
        self.device = device
        record = teacher.record
        notes = {"model": record.name, "model_sha256": weights_digest(teacher), "licence": record.licence}
        drawn = getattr(encoder, "drawn_only", False)
        super().__init__(name, template, size, notes, "PyTorch", drawn_only=drawn)

    @torch.inference_mode()
    def look(self, crops: Tensor) -> IdentityFeatures:
        """See `Model`. By the encoder that students share, whichever the teacher brings."""
        return self.encoder(crops.to(self.device))

    def person(self, who: IdentityFeatures | None, crop: Tensor | None) -> Person:
        """See `Model`. A teacher that looks at the source itself is shown the first photograph."""
        if who is None or crop is None:
            raise UserError(f"teacher {self.name} wants to see the source: give source=PHOTO")
        return _Asked(self.teacher, who, crop[None].to(self.device))


class _Asked:
    """A teacher with one source."""

    def __init__(self, teacher: Teacher, who: IdentityFeatures, crop: Tensor) -> None:
        self._teacher, self._who, self._crop = teacher, who, crop

    @torch.inference_mode()
    def __call__(self, targets: Tensor) -> SwapOutput:
        """See `Person`."""
        n, side = len(targets), targets.shape[-1]
        given = targets.to(self._crop.device)
        source = resize(self._crop, side).expand(n, -1, -1, -1)
        everywhere, others = given.new_ones(n, 1, side, side), torch.zeros(n, dtype=torch.bool, device=given.device)
        batch = SwapBatch(source, given, everywhere, others, targets_per_identity=n)
        return SwapOutput(self._teacher(batch, self._who.repeated(n)).float().cpu())
