"""Bootstrap confidence intervals over people: means, ratios and paired differences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""How often people are drawn again."""
LEVEL = 0.95
"""Share of the resamples that an interval holds."""


class Interval(NamedTuple):
    """A number with the range in which it would lie with other people."""

    value: float
    low: float
    high: float
    count: int
    """Pairs that it was computed from."""

    def excludes(self, number: float) -> bool:
        """Whether the range lies on one side of a number."""
        return self.low > number or self.high < number


class Bootstrap:
    """Draws people with replacement; all numbers of an evaluation see the same draws.

    people: who is the source of every pair, (P,). All pairs of a person are drawn together.
    resamples, seed: how often, and which.
    """

    def __init__(self, people: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, self._who = np.unique(np.asarray(people), return_inverse=True)
        self.people = len(names)
        draw = np.random.default_rng(seed)
        self._weights = draw.multinomial(self.people, np.full(self.people, 1 / self.people), size=resamples)

    def mean(self, values: NDArray[np.float64]) -> Interval:
        """Of (P,) values; NaN stands for a pair of which nothing is known."""
        sums, counts = self._sums(values)
        return self._interval(sums, counts, sums.sum() / max(counts.sum(), 1), int(counts.sum()))

    def difference(self, values: NDArray[np.float64], others: NDArray[np.float64]) -> Interval:
        """Mean of values - others over the pairs of which both are known."""
        return self.mean(values - others)

    def ratio(self, values: NDArray[np.float64], others: NDArray[np.float64]) -> Interval:
        """Mean of values by mean of others, over the pairs of which both are known."""
        both = np.isfinite(values) & np.isfinite(others)
        top, counts = self._sums(np.where(both, values, np.nan))
        below, _ = self._sums(np.where(both, others, np.nan))
        whole = top.sum() / below.sum() if below.sum() else np.nan
        return self._interval(top, below, whole, int(counts.sum()))

    def _sums(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum of the known values, and their number, by person."""
        known = np.isfinite(values)
        sums = np.bincount(self._who, np.where(known, values, 0.0), self.people)
        return sums, np.bincount(self._who, known.astype(float), self.people)

    def _interval(self, top: NDArray[np.float64], below: NDArray[np.float64], value: float, count: int) -> Interval:
        """Of the quotient of two sums over people."""
        if not count:
            return Interval(float("nan"), float("nan"), float("nan"), 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = (self._weights @ top) / (self._weights @ below)
        drawn = drawn[np.isfinite(drawn)]
        if not len(drawn):
            return Interval(float(value), float("nan"), float("nan"), count)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(value), float(low), float(high), count)
