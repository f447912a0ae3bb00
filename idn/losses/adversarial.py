"""The terms that train a swapper without a teacher: one class per equation, one value per sample, no weight, no
network. The identity term is `idn.losses.terms.IdentityLoss`, as in distillation."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import UserError
from idn.types import SwapAttempt, SwapReference, Verdict

Norm = Literal["l1", "half_l2"]


class HingeDiscriminator(nn.Module):
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)) (arXiv:1705.02894), mean over positions, then over scales.

    This is what the discriminator minimises. Returns (N,).
    """

    def forward(self, real: Verdict, fake: Verdict) -> Tensor:
        """Verdicts of N real and N made pictures. Raises ValueError if their scales do not match."""
        return _over_scales([F.relu(1 - logits) for logits in real.logits]) + _over_scales(
            [F.relu(1 + logits) for logits in fake.logits]
        )


class HingeGenerator(nn.Module):
    """-D(swap), mean over positions, then over scales: what the swapper minimises against the hinge. Returns (N,)."""

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """attempt.verdict.logits: (N, 1, h_i, w_i) each."""
        return _over_scales([-logits for logits in attempt.verdict.logits])


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
    (arXiv:1912.13457). No gradient reaches the maps of the target. Returns (N,)."""

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """Attributes of both. Raises UserError if the swapper has none."""
        if not attempt.attributes:
            raise UserError(
                "this swapper has no attribute encoder: set swapper_loss.weights.attributes=0, or choose swapper=ghost"
            )
        pairs = zip(attempt.attributes, reference.attributes, strict=True)
        return sum(0.5 * _per_sample((a - b.detach()).square()) for a, b in pairs)


class SamePersonReconstruction(nn.Module):
    """Distance between swap and target where both show the source's person; 0 for every other pair. Returns (N,).

    norm: "l1", mean absolute difference (arXiv:2106.06340), or "half_l2", half the mean squared one
    (arXiv:1912.13457).
    share: what the values are divided by. 1 weighs the term by how many pairs show one person; the share of such pairs
    in the data weighs it as if it were averaged over them alone, which some recipes do, whatever a batch happens to
    hold. Raises UserError for another norm and unless 0 < share <= 1.
    """

    def __init__(self, norm: Norm = "l1", share: float = 1.0) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise UserError(f"norm={norm} of the reconstruction is unknown: choose {' or '.join(get_args(Norm))}")
        if not 0 < share <= 1:
            raise UserError(f"share={share} of pairs that show one person must be above 0 and at most 1")
        self.norm, self.share = norm, share

    def forward(self, attempt: SwapAttempt, reference: SwapReference) -> Tensor:
        """attempt.image and reference.target: (N, 3, S, S); reference.same: (N,) bool."""
        difference = attempt.image - reference.target
        value = difference.abs() if self.norm == "l1" else 0.5 * difference.square()
        return _per_sample(value) * reference.same / self.share


def _per_sample(values: Tensor) -> Tensor:
    """(N, ...) -> (N,): mean, in float32, so that a lower precision of the network costs nothing here."""
    return values.float().flatten(1).mean(1)


def _over_scales(maps: Sequence[Tensor]) -> Tensor:
    return _mean([_per_sample(values) for values in maps])


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of (N,) tensors, at least one. Raises ValueError if there is none."""
    if not values:
        raise ValueError("expected at least one map to compare, got none")
    return sum(values[1:], values[0]) / len(values)
