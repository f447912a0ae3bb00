import math

import numpy as np
import pytest
import torch
from torch import nn

from idn.export.parity import compare
from idn.types import Network
from tests.raising import raises

BLACK = Network("encoder", nn.Identity(), {"x": torch.zeros(1, 4)}, ("embedding",))


def measured(answer: np.ndarray, expected: np.ndarray, name: str = "embedding") -> tuple[float, float]:
    found = compare(BLACK._replace(outputs=(name,)), lambda _: (answer,), [(answer,)], [(expected,)])
    assert found.output == name
    return found.psnr, found.max_abs


def test_the_peak_is_that_of_the_reference() -> None:
    expected, answer = np.full((1, 4), 5.0, np.float32), np.full((1, 4), 5.5, np.float32)
    assert measured(answer, expected)[0] == pytest.approx(20, abs=1e-4)
    assert measured(answer, expected, "image")[0] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert measured(expected, expected) == (math.inf, 0)


def test_of_a_reference_that_is_all_zero_the_peak_is_one() -> None:
    zero = np.zeros((1, 4), np.float32)
    psnr, largest = measured(zero + np.float32(0.1), zero)
    assert psnr == pytest.approx(20, abs=1e-4) and largest == pytest.approx(0.1)
    assert measured(zero, zero) == (math.inf, 0)


def test_what_cannot_be_compared() -> None:
    zero = np.zeros((1, 4), np.float32)
    assert measured(zero * np.float32("nan"), zero) == (-math.inf, math.inf)
    with raises(ValueError, "embedding", "(1, 4)", "(1, 3)"):
        measured(zero[:, :3], zero)
    with raises(ValueError):
        compare(BLACK._replace(outputs=()), lambda _: (), [], [])
