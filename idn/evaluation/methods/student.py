"""Student files as methods: swapped in the framing and size of their training, and put back into the crop."""

from pathlib import Path

import torch
from torch import Tensor, nn

from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.pairs.pair_set import Pairs
from idn.files.digests import file_sha256
from idn.geometry.affine import in_pixels
from idn.geometry.templates import between_templates
from idn.geometry.warping import paste, realign
from idn.images import resize
from idn.students.student_file import load_student, read_student_file
from idn.types import IdentityEncoder, IdentityFeatures


class StudentMethod(Method):
    """A student of any architecture.

    name: see `Method`.
    path: its file.
    encoder: the one that it was trained with.
    template, size: of the pairs; they serve a student whose file does not tell its own.
    device: where it runs.
    Raises UserError for a file that is no student, and for one that was trained with another encoder.
    """

    def __init__(
        self, name: str, path: Path, encoder: IdentityEncoder, template: str, size: int, device: torch.device
    ) -> None:
        known = read_student_file(path)
        known.check_encoder(encoder)
        self.student: nn.Module = load_student(path).requires_grad_(False).eval().to(device)
        self.template, self.frame, self.size = template, known.template or template, known.size or size
        facts = {
            "kind": "student",
            "architecture": known.architecture,
            "size": self.size,
            "template": self.frame,
            "encoder": known.encoder.name,
            "sha256": file_sha256(path),
        }
        super().__init__(name, facts, known.encoder)

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """See `Method`."""
        target = pairs.batch.target
        image = self.student(realign(target, self.template, self.frame, self.size), who).image
        return judged(put_back(image, target, self.frame, self.template), pairs)


def put_back(image: Tensor, target: Tensor, frame: str, template: str) -> Tensor:
    """Crops aligned to `frame` in the crops aligned to `template` that they were cut from; both (N, 3, any, any)."""
    size = target.shape[-1]
    if frame == template:
        return resize(image, size)
    finite = torch.where(image.isfinite(), image, image.new_tensor(float("nan")))  # pasting limits what is infinite
    return paste(target, finite, in_pixels(between_templates(template, frame), size, image.shape[-1]))
