"""Loss terms of distillation: one class per equation, one value per sample, no weight and no network."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import OptionError
from idn.losses.objective import Need
from idn.types import Look, Prediction, Supervision

Of = Literal["swap", "pasted"]
"""What a term looks at: the swap as it is, fused by the mask, or the generated face in the picture of the answer. The
second pulls on the whole generated face and on nothing else, whatever the mask does."""


def _needs(of: Of, *others: Need) -> frozenset[Need]:
    """What a term asks for that looks at one of the two. Raises OptionError for anything else."""
    if of not in ("swap", "pasted"):
        raise OptionError("of", of, "must be swap or pasted")
    return frozenset({"seen" if of == "swap" else "pasted", *others})


def _look(prediction: Prediction, of: Of) -> Look:
    return Look(prediction.embedding, prediction.perceptual) if of == "swap" else prediction.pasted


class PixelDistillation(nn.Module):
    """L1 distance between the swap and the answer, everywhere: the first half of L_kd (arXiv:2201.03808, sec. 3.3).

    Returns (N,): mean absolute difference over channels and pixels, in units of the [0, 1] range.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answer"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.image and supervision.answer: (N, 3, S, S)."""
        return (prediction.image - supervision.answer).abs().flatten(1).mean(1)


class FaceDistillation(nn.Module):
    """L1 distance between the generated picture, before the fusion, and the answer, inside the face: ours.

    Normalised by the area of the face, so that a small face counts as a large one, and independent of the mask, so that
    a mask that has closed hides nothing. The face is taken a pixel wider, for the mask to fade in. Returns (N,): in
    units of the [0, 1] range, 0 where a sample shows no face.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answer"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.generated, or else image, and supervision.answer: (N, 3, S, S); face: (N, 1, S, S) in [0, 1]."""
        ours = prediction.image if prediction.generated is None else prediction.generated
        face = F.max_pool2d(supervision.face, 3, 1, 1)
        distance = (ours - supervision.answer).abs().mean(1, keepdim=True) * face
        return distance.flatten(1).sum(1) / face.flatten(1).sum(1).clamp_min(1)


class PerceptualDistillation(nn.Module):
    """Distance between feature maps of the swap and the answer: the other half of L_kd.

    of: which picture is compared with the answer, see `Of`.

    Every map contributes its mean absolute difference, relative to the mean magnitude of the answer's map of the same
    sample, so maps of any scale count alike and no weight per layer is needed. Returns (N,).
    """

    def __init__(self, of: Of = "swap") -> None:
        super().__init__()
        self.of, self.needs = of, _needs(of, "answer", "perceptual")

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Maps (N, C_i, h_i, w_i), as many in both. Raises ValueError if there are none or their numbers differ."""
        ours, theirs = _look(prediction, self.of).perceptual, supervision.perceptual
        if not ours or len(ours) != len(theirs):
            raise ValueError(
                f"perceptual: expected equally many feature maps, at least one: {len(ours)}, {len(theirs)}"
            )
        distances = [
            (a - b).abs().flatten(1).mean(1) / b.abs().flatten(1).mean(1).clamp_min(1e-6)
            for a, b in zip(ours, theirs, strict=True)
        ]
        return sum(distances[1:], distances[0]) / len(distances)


class IdentityLoss(nn.Module):
    """1 - cos(z(swap), z(source)): distillation alone leaves identity behind the teacher's (sec. 3.3), and without a
    teacher nothing else asks for it (arXiv:2106.06340).

    of: which picture should show the source, see `Of`.
    """

    def __init__(self, of: Of = "swap") -> None:
        super().__init__()
        self.of, self.needs = of, _needs(of)

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Embeddings (N, D), L2-normalised. Returns (N,) in [0, 2]."""
        return 1 - (_look(prediction, self.of).embedding * supervision.embedding).sum(1)


class BackgroundMask(nn.Module):
    """Weak supervision of the fusion mask: it must be 0 on the background and is free inside the face (sec. 3.3).

    Returns (N,): mean of the mask over the background pixels of its sample, 0 where a sample has no background.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"mask"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.mask and supervision.face: (N, 1, S, S) in [0, 1]."""
        background = 1 - supervision.face
        return (prediction.mask * background).flatten(1).sum(1) / background.flatten(1).sum(1).clamp_min(1)


class MaskSegmentation(nn.Module):
    """Binary cross-entropy of the fusion mask against the face region: ours.

    It asks for the whole face as well as for no background, and so can open a mask that has closed. Returns (N,): mean
    over all pixels.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"mask"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.mask and supervision.face: (N, 1, S, S) in [0, 1]."""
        mask, face = prediction.mask.float().clamp(1e-6, 1 - 1e-6), supervision.face
        return -(face * mask.log() + (1 - face) * (1 - mask).log()).flatten(1).mean(1)


class FaceCoverage(nn.Module):
    """How much of the face the fusion mask leaves to the target: a warm-up, ours, not the paper's.

    A student whose generated face is still poor is better off copying the target, and a mask that has closed lets no
    gradient through to open it again. Held open while the generated face learns, it no longer wants to close.
    Returns (N,): mean of 1 - mask over the pixels of the face, 0 where a sample shows none.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"mask"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.mask and supervision.face: (N, 1, S, S) in [0, 1]."""
        closed = (1 - prediction.mask) * supervision.face
        return closed.flatten(1).sum(1) / supervision.face.flatten(1).sum(1).clamp_min(1)
