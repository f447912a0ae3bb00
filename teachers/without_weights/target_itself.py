"""No teacher: what a student learns from its other losses alone."""

from torch import Tensor

from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.record import FaceInput, SourceInput, TeacherRecord

_TERMS = FAMILIES["target_itself"]
RECORD = TeacherRecord(
    name="target_itself",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(),
    source=SourceInput("nothing"),
    full_precision=True,
)


class TargetItselfTeacher(FrozenTeacher):
    """Shows the target, unchanged: the baseline against which distillation is measured.

    Where source and target are one person the target is the right answer; everywhere else it is the wrong person. With
    `reweight=identity` its trust is therefore high on the former and near 0 on the latter, and the student is left with
    reconstruction of same-identity pairs, the identity loss and the mask.
    """

    def __init__(self) -> None:
        super().__init__(RECORD, crop_template=None)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return the target, (N, 3, S, S) RGB in [0, 1]."""
        return target
