"""Teachers as methods, baselines such as the exact swap and the untouched target among them."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from idn.errors import UserError
from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.pairs.pair_set import Pairs
from idn.files.digests import weights_digest
from idn.types import EncoderDescription, IdentityEncoder, IdentityFeatures, SwapBatch


class Teacher(Protocol):
    """What is asked of a teacher; see teachers.base.FrozenTeacher."""

    record: Any
    """Its name, licence, and the encoder whose embeddings it reads."""

    def __call__(self, batch: SwapBatch, source: IdentityFeatures) -> torch.Tensor:
        """(N, 3, S, S) RGB in [0, 1]."""
        ...


class TeacherMethod(Method):
    """A frozen swapper.

    name: see `Method`.
    teacher: built for the template of the pairs; it is asked whether it can read the encoder's embeddings.
    encoder: that serves the students.
    pair_set: what it is going to be shown.
    device: where it runs.
    options: JSON-able; what it was built with.
    Raises UserError for a teacher that reads another encoder, and for one that knows the answers to its own pairs only.
    """

    def __init__(
        self,
        name: str,
        teacher: Any,
        encoder: IdentityEncoder,
        pair_set: object,
        device: torch.device,
        options: Mapping[str, Any],
    ) -> None:
        try:
            teacher.attach(pair_set, encoder)
        except AttributeError as error:
            raise UserError(
                f"teacher {name} knows the answers to its own pairs only: give the one that it asked"
            ) from (error)
        self.teacher = teacher.to(device)
        record = teacher.record
        facts = {
            "kind": "teacher",
            "record": record.name,
            "licence": record.licence,
            "sha256": weights_digest(teacher),
            "options": dict(options),
        }
        read = record.source.encoder
        super().__init__(name, facts, EncoderDescription(0, 0, name=read) if read else None)

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """See `Method`."""
        return judged(self.teacher(pairs.batch, who), pairs)
