"""Trust: how much each answer of the teacher deserves to be imitated."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from idn.errors import OptionError
from idn.files.option_checks import require_one_of

Variant = Literal["none", "identity", "identity_quality"]


def alpha(cosine: Tensor, quality: Tensor | None = None) -> Tensor:
    """cos(z(picture), z(source))^2 * Q(picture) (arXiv:2201.03808, loss reweighting), (N,) in [0, 1].

    cosine: (N,) in [-1, 1], of the identities of picture and source. A negative one means that the picture shows
    somebody else: it counts as 0, although its square would not. quality: (N,), held to [0, 1]; 1 if None.
    """
    seen = cosine.clamp(0, 1).square()
    return seen if quality is None else seen * quality.clamp(0, 1)


class Trust(nn.Module):
    """How far each answer of the teacher is believed: `alpha`, or parts of it.

    variant: "none" gives 1, "identity" the cosine part, "identity_quality" the product with the quality Q, which
    `scorer` tells: (N, 3, S, S) RGB in [0, 1] -> (N,), 1 for the best.
    """

    def __init__(self, variant: Variant, scorer: nn.Module | None = None) -> None:
        super().__init__()
        require_one_of("variant", variant, get_args(Variant))
        if (variant == "identity_quality") != (scorer is not None):
            raise OptionError("variant", variant, "does not fit: identity_quality needs a scorer, the others take none")
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
