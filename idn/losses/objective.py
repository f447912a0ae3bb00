"""Named terms, their weights, and which of them the trust of the teacher scales."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from idn.errors import UserError
from idn.files.option_checks import require_number
from idn.types import Prediction, Supervision, SwapAttempt, SwapReference


class Objective(nn.Module):
    """total = sum over terms of weight * mean over samples of (trust or 1) * value (arXiv:2201.03808, sec. 3.3).

    terms: name -> module that maps (Prediction, Supervision), or (SwapAttempt, SwapReference), to (N,).
    weights: name -> non-negative factor, one for every term; a term of weight 0 is left out and not reported.
    reweighted: names of the terms that `trust` multiplies per sample: those that compare with the teacher's picture.
    fading: name -> number of steps over which the weight of that term falls linearly to 0.
    group: the config group that these options belong to, for what is said of them.
    Raises UserError if names do not match, no term is left, or a fading is negative.
    """

    def __init__(
        self,
        terms: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        reweighted: Sequence[str] = (),
        fading: Mapping[str, int] | None = None,
        group: str = "loss",
    ) -> None:
        super().__init__()
        for what, names in (("weights", weights), ("terms", terms)):
            missing = sorted((set(terms) | set(weights)) - set(names))
            if missing:
                raise UserError(
                    f"{group}.{what} lacks {', '.join(missing)}: every term needs a weight and every weight a term"
                )
        for what, names in (("reweighted", reweighted), ("fading", fading or ())):
            if unknown := sorted(set(names) - set(terms)):
                raise UserError(f"{group}.{what} names {', '.join(unknown)}, but the terms are {', '.join(terms)}")
        for name, steps in (fading or {}).items():
            require_number(f"{group}.fading.{name}", steps, 0)
        if negative := sorted(name for name, weight in weights.items() if weight < 0):
            raise UserError(f"{group}.weights.{negative[0]} is negative: use 0 to leave a term out")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise UserError(f"{group}.weights are all 0: there is nothing to learn from")
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights})
        self.reweighted = frozenset(reweighted)
        self.fading = dict(fading or {})

    def weight(self, name: str, step: int) -> float:
        """Weight of a term after `step` optimizer steps."""
        steps = self.fading.get(name)
        return self.weights[name] * (1.0 if steps is None else max(0.0, 1 - step / steps) if steps else 0.0)

    def forward(
        self,
        prediction: Prediction | SwapAttempt,
        supervision: Supervision | SwapReference,
        trust: Tensor,
        step: int = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """trust: (N,) in [0, 1]; step: of the optimizer.

        Returns the scalar to minimise and, per term, its mean before weight and trust.
        """
        values = {name: term(prediction, supervision) for name, term in self.terms.items()}
        scaled = {name: value * trust if name in self.reweighted else value for name, value in values.items()}
        total = sum(self.weight(name, step) * value.mean() for name, value in scaled.items())
        return total, {name: value.detach().mean() for name, value in values.items()}
