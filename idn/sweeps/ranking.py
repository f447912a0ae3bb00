"""Ranking the runs of a sweep: the best first, the Pareto front, how much each option matters."""

from collections.abc import Sequence

import numpy as np

from idn.errors import UserError
from idn.metrics.compared import maximised
from idn.sweeps.outcomes import Outcome, varied

LEAST = 4
"""Runs with a result from which on it is said how much an option matters."""


def objectives(outcomes: Sequence[Outcome]) -> list[str]:
    """Keys of the metrics by which these runs are compared. Raises UserError if they do not all have the same."""
    found = {tuple(outcome.objectives): outcome for outcome in outcomes if outcome.state == "finished"}
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise UserError(
            f"run {first.folder} was to be compared by {', '.join(one)} and run {second.folder} by "
            f"{', '.join(other)}: give the sweep metric=NAME that all its runs have"
        )
    return list(next(iter(found), ()))


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The finished runs, the best first: by the first objective; of equals, by the next."""
    keys = objectives(outcomes)
    return sorted((outcome for outcome in outcomes if outcome.state == "finished"), key=lambda one: _costs(one, keys))


def front(outcomes: Sequence[Outcome], keys: Sequence[str]) -> list[Outcome]:
    """The finished runs than which none is better in one of the metrics and as good in the others (Pareto front)."""
    known = [one for one in outcomes if one.state == "finished" and all(key in one.values for key in keys)]
    costs = [_costs(one, keys) for one in known]
    return [one for one, cost in zip(known, costs, strict=True) if not any(_beats(other, cost) for other in costs)]


def best(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The winner; with several objectives, all runs of the Pareto front, the best in the first objective first."""
    order, keys = ranked(outcomes), objectives(outcomes)
    return order[:1] if len(keys) < 2 else [one for one in order if one in front(order, keys)]


def importance(outcomes: Sequence[Outcome], key: str) -> dict[str, float]:
    """How much of the differences of a metric each varied option explains by itself, in [0, 1], the most first.

    Of numbers: the square of their rank correlation with the metric. Of words: the share of the variance between them
    (correlation ratio of the ranks), less what chance alone would give. Nothing of fewer than 4 runs with a result.
    """
    known = [one for one in outcomes if one.state == "finished" and key in one.values]
    if len(known) < LEAST:
        return {}
    ranks = _ranks([one.values[key] for one in known])
    found = {}
    for name in varied(known):
        given = [one.choices.get(name, "") for one in known]
        if len(set(given)) > 1:
            found[name] = _explained(given, ranks)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _explained(given: Sequence[str], ranks: np.ndarray) -> float:
    """given, ranks: (K,) each."""
    total = float(np.var(ranks))
    if total == 0:
        return 0.0
    if (numbers := as_numbers(given)) is not None:
        return float(np.corrcoef(_ranks(numbers), ranks)[0, 1] ** 2)
    groups: dict[str, list[float]] = {}
    for value, rank in zip(given, ranks, strict=True):
        groups.setdefault(value, []).append(float(rank))
    if len(groups) == len(given):  # each value once: nothing can be told
        return 0.0
    within = sum(len(group) * float(np.var(group)) for group in groups.values()) / (len(given) - len(groups))
    return max(0.0, 1 - within / (total * len(given) / (len(given) - 1)))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """(K,): 1 for the smallest; equal ones share the mean of theirs."""
    _, places, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def as_numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers, None if one of them is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def _costs(outcome: Outcome, keys: Sequence[str]) -> tuple[float, ...]:
    """What is to be small."""
    return tuple(-outcome.values[key] if maximised(key) else outcome.values[key] for key in keys)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
