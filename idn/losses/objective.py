"""Objective: the weighted sum of named loss terms, some of them scaled by the trust in the teacher."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from idn.errors import OptionError
from idn.files.option_checks import require_number
from idn.types import Prediction, Supervision

Need = Literal[
    "answer",
    "seen",
    "pasted",
    "perceptual",
    "target_perceptual",
    "mask",
    "scales",
    "verdict",
    "target_verdict",
    "attributes",
]
"""What a term may ask for, beside the picture, the source's identity, the target and the face, which are always there.

answer: the picture that the swap should be; the value of a term that asks for it is 0 in rows where nobody knows that.
seen: what the encoder sees in the swap.
pasted: what it sees in the generated face, pasted into the answer, or into the target where nobody knows that.
perceptual, target_perceptual: feature maps of what it looks at, and of the answer or of the target.
mask: of the fusion.
scales: the swap at smaller sizes, and what the encoder sees there.
verdict, target_verdict: a discriminator's, of the swap and of the target.
attributes: maps of swap and target by the network's own encoder of attributes.
"""


class Term(Protocol):
    """One loss: (Prediction, Supervision) -> (N,), one value per sample. A term without `needs` asks for nothing."""

    needs: frozenset[Need]

    def __call__(self, prediction: Prediction, supervision: Supervision) -> Tensor:
        """Returns (N,)."""
        ...


class Objective(nn.Module):
    """total = sum over terms of weight * mean over samples of (trust or 1) * value (arXiv:2201.03808, sec. 3.3).

    terms: name -> Term.
    weights: name -> non-negative factor, one for every term; a term of weight 0 is left out and not reported.
    reweighted: names of the terms that trust multiplies per sample: those that compare with the teacher's picture.
    fading: name -> number of steps over which the weight of that term falls linearly to 0.

    Raises OptionError if names do not match, no term is left, a weight or a fading is negative.
    """

    def __init__(
        self,
        terms: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        reweighted: Sequence[str] = (),
        fading: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        for argument, names in (("weights", weights), ("terms", terms)):
            if missing := sorted((set(terms) | set(weights)) - set(names)):
                raise OptionError(
                    argument,
                    f"[{','.join(names)}]",
                    f"lacks {', '.join(missing)}: every term needs a weight and every weight a term",
                )
        for argument, names in (("reweighted", reweighted), ("fading", fading or ())):
            if unknown := sorted(set(names) - set(terms)):
                given = f"[{','.join(names)}]"
                raise OptionError(argument, given, f"names {', '.join(unknown)}, but the terms are {', '.join(terms)}")
        for argument, numbers in (("weights", weights), ("fading", fading or {})):
            for name, number in numbers.items():
                require_number(f"{argument}.{name}", number, 0)
        self.weights = {name: float(weight) for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise OptionError("weights", dict(weights), "are all 0: there is nothing to learn from")
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights})
        self.reweighted = frozenset(reweighted)
        self.fading = dict(fading or {})
        if unknown := self.needs - set(get_args(Need)):
            raise ValueError(f"a term needs {', '.join(sorted(unknown))}: nobody provides that")

    @property
    def needs(self) -> frozenset[Need]:
        """What the terms ask for, all of them together."""
        return frozenset().union(*(_needs(term) for term in self.terms.values()))

    def asking(self, need: Need) -> list[str]:
        """Names of the terms that ask for something."""
        return [name for name, term in self.terms.items() if need in _needs(term)]

    def leave_out(self, names: Sequence[str]) -> None:
        """Go on without some terms. Raises OptionError if none would be left."""
        if set(names) >= set(self.terms):
            raise OptionError("weights", self.weights, "leave no term that this network can learn from: add another")
        for name in names:
            del self.terms[name], self.weights[name]

    def weight(self, name: str, step: int) -> float:
        """Weight of a term after `step` optimizer steps."""
        steps = self.fading.get(name)
        return self.weights[name] * (1.0 if steps is None else max(0.0, 1 - step / steps) if steps else 0.0)

    def forward(
        self, prediction: Prediction, supervision: Supervision, trust: Tensor | None = None, step: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """trust: (N,) in [0, 1], None where there is nothing to doubt; step: of the optimizer.

        Returns the scalar to minimise and, per term, its mean before weight and trust.
        """
        values = {name: _value(term, prediction, supervision) for name, term in self.terms.items()}
        doubted = self.reweighted if trust is not None else ()
        scaled = {name: value * trust if name in doubted else value for name, value in values.items()}
        total = sum(self.weight(name, step) * value.mean() for name, value in scaled.items())
        return total, {name: value.detach().mean() for name, value in values.items()}


def _value(term: nn.Module, prediction: Prediction, supervision: Supervision) -> Tensor:
    """(N,): of a term; 0 in the rows without the answer that it compares with."""
    value = term(prediction, supervision)
    if "answer" not in _needs(term) or supervision.known is None:
        return value
    return torch.where(supervision.known, value, torch.zeros_like(value))


def _needs(term: nn.Module) -> frozenset[Need]:
    return getattr(term, "needs", frozenset())
