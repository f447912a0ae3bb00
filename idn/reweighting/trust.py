"""Trust: how much each answer of the teacher deserves to be imitated."""

from typing import Literal

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.reweighting.alpha import alpha

Variant = Literal["none", "identity", "identity_quality"]


class Trust(nn.Module):
    """How far each answer of the teacher is believed: `idn.reweighting.alpha.alpha`, or parts of it.

    variant: "none" gives 1, "identity" the cosine part, "identity_quality" the product with the quality Q, which
    `scorer` tells: (N, 3, S, S) RGB in [0, 1] -> (N,), 1 for the best.
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
    def forward(self, cosine: Tensor, image: Tensor, quality: Tensor | None = None) -> Tensor:
        """How far to believe N answers, (N,) in [0, 1].

        cosine: (N,) in [-1, 1], of the identities of answer and source. image: (N, 3, S, S) in [0, 1], the answers.
        quality: (N,) in [0, 1], where it is known already; the scorer is not asked then.
        """
        if self.variant == "none":
            return torch.ones_like(cosine)
        if self.scorer is None:
            return alpha(cosine)
        return alpha(cosine, self.scorer(image) if quality is None else quality)
