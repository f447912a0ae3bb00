"""FID against its formula in scipy, KID against its own meaning."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from idn.evaluation.population import fid, kid


def features(shift: float, seed: int, n: int = 300) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) * 0.7 + shift


def test_fid_is_its_formula() -> None:
    a, b = features(0, 0), features(0.5, 1)
    (mean_a, cov_a), (mean_b, cov_b) = ((x.double().numpy().mean(0), np.cov(x.double().numpy().T)) for x in (a, b))
    wanted = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert fid(a, b).value == pytest.approx(wanted, rel=1e-4)


def test_equal_sets_are_at_0_and_a_shift_is_seen() -> None:
    a = features(0, 0)
    assert fid(a, a).value == pytest.approx(0, abs=1e-6)
    same, other = kid(features(0, 2), a), kid(features(0.5, 2), a)
    assert same.low < 0.5 and same.high > -0.5 and other.low > same.high


def test_kid_is_near_the_unbiased_formula_over_all_pictures() -> None:
    a, b = (x.double().numpy() for x in (features(0, 0), features(0.2, 1)))
    n = len(a)
    inner, outer, cross = ((x @ y.T / 6 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    own = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in (inner, outer))
    found = kid(torch.from_numpy(b), torch.from_numpy(a))
    assert found.value == pytest.approx(1000 * (own - 2 * cross.mean()), rel=0.1)
    assert found.low < 1000 * (own - 2 * cross.mean()) < found.high


def test_too_few_pictures_have_no_distance() -> None:
    assert fid(features(0, 0, 3), features(0, 1)) is None and kid(features(0, 0, 1), features(0, 1)) is None


def test_the_random_numbers_of_others_stay_as_they_are() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    kid(features(0, 0), features(0, 1))
    assert torch.equal(torch.get_rng_state(), before)
