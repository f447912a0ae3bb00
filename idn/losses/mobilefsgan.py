"""Loss terms of MobileFSGAN (arXiv:2204.08339): one class per equation, one value per sample, no weight and no network.

Its adversarial term is `idn.losses.adversarial.HingeGenerator` with the form "hinge" and a factor per scale.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import OptionError
from idn.files.option_checks import require_int, require_number
from idn.images import to_pm1
from idn.losses.objective import Need
from idn.types import Prediction, Supervision

_BLACK = 0.5 / 255
"""Colours below are those of pixels that a warp has left empty."""


VGG19_WEIGHTS = (0.0, 0.6, 0.8, 1.0, 1.2)
"""Of the five maps of VGG-19, from fine to coarse, as published."""


class IdentityMargin(nn.Module):
    """max(0, 1 - cos(z(swap), z(source)) - margin), at one of the sizes at which the swap is made.

    margin: identities that are as near are left alone.
    scale: 0 for the swap itself, 1 for the next smaller picture, and so on.

    The mean is that over all samples of a batch. The published code averages over those above the margin alone: there
    the last sample above it weighs as much as all of them together, and a value depends on its neighbours. Returns
    (N,). Raises OptionError for a negative scale, or a margin outside [0, 2].
    """

    def __init__(self, margin: float = 0.02, scale: int = 0) -> None:
        super().__init__()
        require_number("margin", margin, 0, 2)
        require_int("scale", scale, 0)
        self.margin, self.scale = margin, scale
        self.needs: frozenset[Need] = frozenset({"scales"} if scale else {"seen"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Embeddings (N, D), L2-normalised. Raises OptionError if the network makes fewer pictures."""
        if self.scale > len(prediction.scale_embeddings):
            made = f"is more than the {len(prediction.scale_embeddings)} smaller pictures that this network makes"
            raise OptionError("scale", self.scale, f"{made}: leave the term out", self)
        ours = prediction.scale_embeddings[self.scale - 1] if self.scale else prediction.embedding
        return F.relu(1 - (ours * supervision.embedding).sum(1) - self.margin)


class TripletReconstruction(nn.Module):
    """Half the squared difference of swap and answer in [-1, 1], summed over the colours, mean over the pixels.

    Pixels in which the answer is black do not count: a warp has left them empty. The published code counts them in the
    upper rows and at the sides, and takes a picture of black for the answer that a pair does not have, so it pulls the
    borders of the swap to black. Returns (N,).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"answer"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.image and supervision.answer: (N, 3, S, S) in [0, 1]."""
        answer = supervision.answer
        shown = (answer.amax(1) > _BLACK).float()
        squares = 0.5 * (to_pm1(prediction.image) - to_pm1(answer)).float().square().sum(1) * shown
        return squares.flatten(1).sum(1) / shown.flatten(1).sum(1).clamp_min(1)


class TargetPerceptual(nn.Module):
    """Weighted sum of the mean absolute differences between feature maps of the swap and of the target.

    weights: one for every map, from shallow to deep; None gives all of them 1.
    Returns (N,). Raises OptionError for negative weights, or as many as there are no maps.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"seen", "target_perceptual"})

    def __init__(self, weights: Sequence[float] | None = VGG19_WEIGHTS) -> None:
        super().__init__()
        for weight in weights or ():
            require_number("weights", weight, 0)
        self.weights = None if weights is None else tuple(map(float, weights))

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Maps (N, C_i, h_i, w_i), as many in both."""
        pairs = list(zip(prediction.perceptual, supervision.target_perceptual, strict=True))
        weights = (1.0,) * len(pairs) if self.weights is None else self.weights
        if len(weights) != len(pairs) or not any(weights):
            wanted = f"must be {len(pairs)} numbers, not all of them 0: one for every perceptual map"
            raise OptionError("weights", list(weights), wanted, self)
        values = [w * (a - b).abs().float().flatten(1).mean(1) for w, (a, b) in zip(weights, pairs, strict=True) if w]
        return sum(values[1:], values[0])
