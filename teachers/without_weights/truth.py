"""Exact answers: training on pairs whose right swap the data know (supervised triplets), without a teacher."""

from torch import Tensor

from idn.errors import UserError
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.record import FaceInput, SourceInput, TeacherRecord

_TERMS = FAMILIES["truth"]
RECORD = TeacherRecord(
    name="truth",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(),
    source=SourceInput("nothing"),
    full_precision=True,
)


class TruthTeacher(FrozenTeacher):
    """Answers with `batch.truth`. There is nothing to doubt: take it with the trust "none"."""

    def __init__(self) -> None:
        super().__init__(RECORD, crop_template=None)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return (N, 3, S, S) RGB in [0, 1]. Raises UserError if the batch does not know its truth everywhere."""
        if batch.truth is None:
            raise UserError(
                "these data do not know the exact swap of a pair, as those of rendered people do: choose other "
                "data, or a teacher"
            )
        if batch.truth_known is not None and not bool(batch.truth_known.all()):
            raise UserError(
                "these data know the exact swaps of some pairs only: choose the supervision triplets in place of this "
                "teacher"
            )
        return batch.truth
