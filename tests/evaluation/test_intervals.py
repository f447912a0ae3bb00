"""Bootstrap intervals against scipy, closed forms and their own meaning."""

import numpy as np
import pytest
from scipy import stats

from idn.evaluation.intervals import Bootstrap

PEOPLE = [f"p{number}" for number in range(200)]


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(3, 2, 200)
    found = Bootstrap(PEOPLE, 4000).mean(values)
    other = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found.value == pytest.approx(values.mean()) and found.count == 200
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.04)


def test_pictures_of_one_person_count_as_one() -> None:
    """Ten equal pictures of each person leave the interval as wide as one picture does."""
    values = np.random.default_rng(2).normal(0, 1, 200)
    once, often = Bootstrap(PEOPLE).mean(values), Bootstrap(np.repeat(PEOPLE, 10).tolist()).mean(np.repeat(values, 10))
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    draw = np.random.default_rng(3)
    hard = draw.normal(0, 5, 200)
    one, other = hard + 0.5, hard + draw.normal(0, 0.1, 200)
    bootstrap = Bootstrap(PEOPLE)
    gap = bootstrap.difference(one, other)
    assert gap.excludes(0) and gap.value == pytest.approx((one - other).mean())
    assert not bootstrap.difference(hard, hard[::-1].copy()).excludes(0)


def test_a_ratio_is_that_of_the_means_with_an_interval_around_it() -> None:
    below = np.random.default_rng(4).uniform(1, 2, 200)
    found = Bootstrap(PEOPLE).ratio(below * 0.7, below)
    assert found[:3] == pytest.approx((0.7, 0.7, 0.7))


def test_unknown_values_are_left_out_and_counted() -> None:
    values = np.full(200, np.nan)
    assert Bootstrap(PEOPLE).mean(values).count == 0
    values[:2] = (1.0, 3.0)
    found = Bootstrap(PEOPLE).mean(values)
    assert (found.value, found.count) == (2.0, 2) and 1 <= found.low <= found.high <= 3
    assert Bootstrap(PEOPLE).ratio(values, np.full(200, np.nan)).count == 0
