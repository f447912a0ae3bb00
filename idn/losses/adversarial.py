"""Adversarial loss terms, and those that train without a teacher: one class per equation, one value per sample, no
weight, no network. The identity term is `idn.losses.distillation.IdentityLoss`, as in distillation."""

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int, require_number, require_one_of
from idn.images import normalize
from idn.losses.objective import Need
from idn.types import Prediction, Supervision, Verdict

Norm = Literal["l1", "half_l2"]
Form = Literal["linear", "hinge"]
Scales = Literal["mean", "sum"] | Sequence[float]
"""What becomes of the values that a discriminator has for each of its scales: their mean, their sum, or their sum after
each was multiplied by a factor of its own."""


class HingeDiscriminator(nn.Module):
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)) (arXiv:1705.02894), mean over positions; then over scales.

    scales: "mean", "sum", or one factor per scale.

    This is what the discriminator minimises. Returns (N,). Raises OptionError for other scales.
    """

    def __init__(self, scales: Scales = "mean") -> None:
        super().__init__()
        self.scales = _checked(scales)

    def forward(self, real: Verdict, fake: Verdict) -> Tensor:
        """Verdicts of N real and N made pictures. Raises ValueError if there is nothing to judge."""
        doubted = _over_scales([F.relu(1 - logits) for logits in real.logits], self.scales)
        return doubted + _over_scales([F.relu(1 + logits) for logits in fake.logits], self.scales)


class HingeGenerator(nn.Module):
    """What a network that swaps minimises against the hinge, mean over positions. Returns (N,).

    form: "linear", -D(swap), which always pulls (arXiv:1705.02894), or "hinge", max(0, 1 - D(swap)), which leaves
        positions alone that already pass for real by the margin, as GHOST has it.
    scales: "mean", "sum", or one factor per scale: what becomes of the values at several scales.

    Raises OptionError for others.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"verdict"})

    def __init__(self, form: Form = "linear", scales: Scales = "mean") -> None:
        super().__init__()
        require_one_of("form", form, get_args(Form))
        self.form, self.scales = form, _checked(scales)

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.verdict.logits: (N, 1, h_i, w_i) each."""
        logits = prediction.verdict.logits
        return _over_scales([-one if self.form == "linear" else F.relu(1 - one) for one in logits], self.scales)


class WeakFeatureMatching(nn.Module):
    """Mean absolute difference between what the discriminator sees in swap and target (arXiv:2106.06340).

    deepest: how many maps of each scale count, from the deepest one on: shallow ones would tie the swap to the pixels
    of the target and keep its identity. Mean over maps, then over scales. Returns (N,).
    Raises UserError unless deepest is at least 1.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"verdict", "target_verdict"})

    def __init__(self, deepest: int = 1) -> None:
        super().__init__()
        require_int("deepest", deepest, 1)
        self.deepest = deepest

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Features of both verdicts. No gradient reaches those of the target."""
        pairs = zip(prediction.verdict.features, supervision.verdict.features, strict=True)
        return _mean([_mean(self._distances(ours, theirs)) for ours, theirs in pairs])

    def _distances(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(ours[-self.deepest :], theirs[-self.deepest :], strict=True)
        return [_per_sample((a - b.detach()).abs()) for a, b in pairs]


class AttributePreservation(nn.Module):
    """Half the mean squared difference of the attribute maps of swap and target, summed over the maps
    (arXiv:1912.13457). The attribute encoder learns from both, as in FaceShifter and GHOST. Returns (N,)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"attributes"})

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Attributes of both. Raises UserError if the swapper has none."""
        if not prediction.attributes:
            raise UserError(
                "this network has no encoder of attributes to compare: give the loss term a weight of 0, or choose a "
                "network that has one, such as ghost"
            )
        pairs = zip(prediction.attributes, prediction.target_attributes, strict=True)
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
        require_one_of("norm", norm, get_args(Norm))
        require_number("share", share)
        if not 0 < share <= 1:
            raise OptionError("share", share, "must be above 0 and at most 1: the share of pairs that show one person")
        if not isinstance(std, Sequence) or len(std) != 3 or not all(isinstance(s, int | float) and s > 0 for s in std):
            raise OptionError("std", std, "must be three numbers above 0, one per colour")
        self.norm = norm
        self.share, self.std = share, tuple(std)

    def forward(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """prediction.image and supervision.target: (N, 3, S, S); supervision.same: (N,) bool."""
        difference = normalize(prediction.image - supervision.target, (0.0, 0.0, 0.0), self.std)
        value = difference.abs() if self.norm == "l1" else 0.5 * difference.square()
        return _per_sample(value) * supervision.same / self.share


def _per_sample(values: Tensor) -> Tensor:
    """(N, ...) -> (N,): mean, in float32, so that a lower precision of the network costs nothing here."""
    return values.float().flatten(1).mean(1)


def _checked(scales: Scales) -> Scales:
    """As given. Raises OptionError unless these are "mean", "sum" or factors from 0 on, not all of them 0."""
    if isinstance(scales, str) or not isinstance(scales, Sequence):
        require_one_of("scales", scales, ("mean", "sum"))
        return scales
    for factor in scales:
        require_number("scales", factor, 0)
    if not any(scales):
        raise OptionError("scales", list(scales), "must hold a factor above 0")
    return tuple(map(float, scales))


def _over_scales(maps: Sequence[Tensor], how: Scales) -> Tensor:
    values = [_per_sample(one) for one in maps]
    if not isinstance(how, str):
        if len(how) != len(values):
            judged = f"are {len(how)} factors for a discriminator that judges {len(values)} sizes"
            raise OptionError("scales", list(how), f"{judged}: give one for each")
        weighed = [factor * value for factor, value in zip(how, values, strict=True) if factor]
        return sum(weighed[1:], weighed[0])
    return _mean(values) * (len(values) if how == "sum" else 1)


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of (N,) tensors, at least one. Raises ValueError if there is none."""
    if not values:
        raise ValueError("expected at least one map to compare, got none")
    return sum(values[1:], values[0]) / len(values)
