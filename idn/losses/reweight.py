"""Trust: how much each answer of the teacher deserves to be imitated."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from idn.errors import UserError

Variant = Literal["none", "identity", "identity_quality"]


class QualityScore(Protocol):
    """Judges pictures: (N, 3, S, S) RGB in [0, 1] -> (N,) in [0, 1], 1 for the best."""

    def __call__(self, images: Tensor) -> Tensor:
        """Score every picture by itself."""
        ...


class Trust(nn.Module):
    """alpha = cos(z(teacher), z(source))^2 * Q(teacher) (arXiv:2201.03808, loss reweighting).

    variant: "none" gives 1, "identity" the cosine part, "identity_quality" the product with `scorer`.
    A negative cosine means that the teacher shows somebody else: it counts as 0, although its square would not.
    """

    def __init__(self, variant: Variant, scorer: nn.Module | None = None) -> None:
        super().__init__()
        if variant not in ("none", "identity", "identity_quality"):
            raise UserError(f"reweight.variant={variant} is unknown: choose none, identity or identity_quality")
        if (variant == "identity_quality") != (scorer is not None):
            raise UserError(
                f"reweight.variant={variant} and reweight.scorer do not fit: identity_quality needs a scorer file, "
                "the other variants take none"
            )
        self.variant = variant
        self.scorer = scorer

    @torch.no_grad()
    def forward(self, teacher_embedding: Tensor, source_embedding: Tensor, teacher_image: Tensor) -> Tensor:
        """Embeddings (N, D), L2-normalised; teacher_image (N, 3, S, S) in [0, 1]. Returns (N,) in [0, 1]."""
        if self.variant == "none":
            return source_embedding.new_ones(len(source_embedding))
        cosine = (teacher_embedding * source_embedding).sum(1).clamp(0, 1)
        trust = cosine.square()
        return trust if self.scorer is None else trust * self.scorer(teacher_image).clamp(0, 1)
