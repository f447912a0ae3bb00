"""The terms that train a swapper without a teacher: one class per equation, one value per sample, no weight, no
network. The identity term is `idn.losses.distillation.IdentityLoss`, as in distillation."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import UserError
from idn.images import normalize
from idn.types import SwapAttempt, SwapReference, Verdict

Norm = Literal["l1", "half_l2"]
Form = Literal["linear", "hinge"]
Scales = Literal["mean", "sum"]
"""What becomes of the values that a discriminator has for each of its scales."""


class HingeDiscriminator(nn.Module):
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)) (arXiv:1705.02894), mean over positions; scales: then "mean" or "sum".

    This is what the discriminator minimises. Returns (N,). Raises UserError for other scales.
    """

    def __init__(self, scales: Scales = "mean") -> None:
        super().__init__()
        self.scales = _known("teacher_training.scales", scales, Scales)

    def forward(self, real: Verdict, fake: Verdict) -> Tensor:
        """Verdicts of N real and N made pictures. Raises ValueError if there is nothing to judge."""
        doubted = _over_scales([F.relu(1 - logits) for logits in real.logits], self.scales)
        return doubted + _over_scales([F.relu(1 + logits) for logits in fake.logits], self.scales)


class HingeGenerator(nn.Module):
    """What the swapper minimises against the hinge, mean over positions; scales: then "mean" or "sum". Returns (N,).

    form: "linear", -D(swap), which always pulls (arXiv:1705.02894), or "hinge", max(0, 1 - D(swap)), which leaves
    positions alone that already pass for real by the margin, as GHOST has it. Raises UserError for others.
    """

    def __init__(self, form: Form = "linear", scales: Scales = "mean") -> None:
        super().__init__()
        self.form = _known("teacher_loss.terms.adversarial.form", form, Form)
        self.scales = _known("teacher_loss.terms.adversarial.scales", scales, Scales)

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """attempt.verdict.logits: (N, 1, h_i, w_i) each."""
        logits = attempt.verdict.logits
        return _over_scales([-one if self.form == "linear" else F.relu(1 - one) for one in logits], self.scales)


class WeakFeatureMatching(nn.Module):
    """Mean absolute difference between what the discriminator sees in swap and target (arXiv:2106.06340).

    deepest: how many maps of each scale count, from the deepest one on: shallow ones would tie the swap to the pixels
    of the target and keep its identity. Mean over maps, then over scales. Returns (N,).
    Raises UserError unless deepest is at least 1.
    """

    def __init__(self, deepest: int = 1) -> None:
        super().__init__()
        if deepest < 1:
            raise UserError(f"deepest={deepest} of the feature matching must be 1 or more; its weight turns it off")
        self.deepest = deepest

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """Features of both verdicts. No gradient reaches those of the target."""
        pairs = zip(attempt.verdict.features, reference.verdict.features, strict=True)
        return _mean([_mean(self._distances(ours, theirs)) for ours, theirs in pairs])

    def _distances(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(ours[-self.deepest :], theirs[-self.deepest :], strict=True)
        return [_per_sample((a - b.detach()).abs()) for a, b in pairs]


class AttributePreservation(nn.Module):
    """Half the mean squared difference of the attribute maps of swap and target, summed over the maps
    (arXiv:1912.13457). The attribute encoder learns from both, as in FaceShifter and GHOST. Returns (N,)."""

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """Attributes of both. Raises UserError if the swapper has none."""
        if not attempt.attributes:
            raise UserError(
                "this swapper has no attribute encoder: set teacher_loss.weights.attributes=0, or choose teacher_network=ghost"
            )
        pairs = zip(attempt.attributes, reference.attributes, strict=True)
        return sum(0.5 * _per_sample((a.float() - b.float()).square()) for a, b in pairs)


class SamePersonReconstruction(nn.Module):
    """Distance between swap and target where both show the source's person; 0 for every other pair. Returns (N,).

    norm: "l1", mean absolute difference (arXiv:2106.06340), or "half_l2", half the mean squared one
    (arXiv:1912.13457).
    share: what the values are divided by. 1 weighs the term by how many pairs show one person; the share of such pairs
    in the data weighs it as if it were averaged over them alone, which some recipes do, whatever a batch happens to
    hold. std: what the differences of the three colours are divided by, for recipes that compare normalised pictures:
    0.5 for those in [-1, 1]. Raises UserError for another norm, unless 0 < share <= 1, and unless std are three numbers
    above 0.
    """

    def __init__(self, norm: Norm = "l1", share: float = 1.0, std: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.norm = _known("teacher_loss.terms.reconstruction.norm", norm, Norm)
        if not 0 < share <= 1:
            raise UserError(f"share={share} of pairs that show one person must be above 0 and at most 1")
        if len(std) != 3 or min(std) <= 0:
            raise UserError(f"std={list(std)} of the reconstruction must be three numbers above 0, one per colour")
        self.share, self.std = share, tuple(std)

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """attempt.image and reference.target: (N, 3, S, S); reference.same: (N,) bool."""
        difference = normalize(attempt.image - reference.target, (0.0, 0.0, 0.0), self.std)
        value = difference.abs() if self.norm == "l1" else 0.5 * difference.square()
        return _per_sample(value) * reference.same / self.share


def _per_sample(values: Tensor) -> Tensor:
    """(N, ...) -> (N,): mean, in float32, so that a lower precision of the network costs nothing here."""
    return values.float().flatten(1).mean(1)


def _over_scales(maps: Sequence[Tensor], how: Scales) -> Tensor:
    values = [_per_sample(one) for one in maps]
    return _mean(values) * (len(values) if how == "sum" else 1)


def _known(option: str, value: str, choices: Any) -> str:
    """`value`, one of a Literal's. Raises UserError that names the option otherwise."""
    if value not in get_args(choices):
        raise UserError(f"{option}={value} is unknown: choose {' or '.join(get_args(choices))}")
    return value


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of (N,) tensors, at least one. Raises ValueError if there is none."""
    if not values:
        raise ValueError("expected at least one map to compare, got none")
    return sum(values[1:], values[0]) / len(values)
