"""The objective: weights, trust, reports, and refusals."""

from typing import Any

import pytest
import torch
from torch import nn

from idn.errors import OptionError
from idn.losses.distillation import IdentityLoss, PixelDistillation
from idn.losses.objective import Objective
from idn.types import Prediction, Supervision
from tests.raising import raises


class Given(nn.Module):
    """A term whose values are known."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, prediction: Prediction, supervision: Supervision) -> torch.Tensor:
        return self.values


TERMS = {"kd": Given([1.0, 3.0]), "identity": Given([0.5, 0.7])}
NOTHING = (None, None)


def test_trust_scales_only_the_reweighted_terms() -> None:
    objective = Objective(TERMS, {"kd": 2.0, "identity": 10.0}, reweighted=["kd"])
    total, parts = objective(*NOTHING, torch.tensor([1.0, 0.0]))
    assert total.item() == pytest.approx(2 * (1 * 1 + 3 * 0) / 2 + 10 * 0.6)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx({"kd": 2.0, "identity": 0.6})


@pytest.mark.parametrize(("step", "expected"), [(0, 2.0), (5, 1.0), (10, 0.0), (99, 0.0)])
def test_a_fading_weight_falls_to_zero(step: int, expected: float) -> None:
    objective = Objective(TERMS, {"kd": 2.0, "identity": 10.0}, fading={"kd": 10})
    total, parts = objective(*NOTHING, torch.ones(2), step)
    assert total.item() == pytest.approx(expected * 2 + 10 * 0.6) and set(parts) == {"kd", "identity"}


def test_a_term_of_weight_zero_is_left_out() -> None:
    objective = Objective(TERMS, {"kd": 0, "identity": 1.0}, reweighted=["kd"])
    total, parts = objective(*NOTHING, torch.ones(2))
    assert set(parts) == {"identity"} and total.item() == pytest.approx(0.6)


BOTH = {"kd": 1.0, "identity": 1.0}


@pytest.mark.parametrize(
    ("weights", "options", "argument"),
    [
        ({"kd": 1.0}, {}, "weights"),
        ({"kd": 1.0, "identity": 1.0, "gan": 1.0}, {}, "terms"),
        ({"kd": -1.0, "identity": 1.0}, {}, "weights.kd"),
        ({"kd": float("nan"), "identity": 1.0}, {}, "weights.kd"),
        ({"kd": 0.0, "identity": 0.0}, {}, "weights"),
        (BOTH, {"reweighted": ["pixel"]}, "reweighted"),
        (BOTH, {"fading": {"gan": 3}}, "fading"),
        (BOTH, {"fading": {"kd": -1}}, "fading.kd"),
    ],
)
def test_names_and_numbers_must_fit(weights: dict[str, float], options: dict[str, Any], argument: str) -> None:
    with raises(OptionError, argument=argument):
        Objective(TERMS, weights, **options)


def test_a_name_without_its_other_half_is_said() -> None:
    with raises(OptionError, "identity", argument="weights", value="[kd]"):
        Objective(TERMS, {"kd": 1.0})


class Asking(Given):
    """A term that asks for something."""

    def __init__(self, *needs: str) -> None:
        super().__init__([1.0])
        self.needs = frozenset(needs)


def test_it_tells_what_its_terms_need_and_goes_on_without_some() -> None:
    terms = {"a": Asking("mask"), "b": Asking("answer", "mask"), "c": Given([2.0]), "d": Asking("verdict")}
    objective = Objective(terms, {"a": 1.0, "b": 1.0, "c": 3.0, "d": 0})
    assert objective.needs == {"mask", "answer"} and objective.asking("mask") == ["a", "b"]
    objective.leave_out(["a", "b"])
    total, parts = objective(*NOTHING)
    assert objective.needs == frozenset() and set(parts) == {"c"} and float(total) == 6.0
    with pytest.raises(OptionError):
        objective.leave_out(["c"])
    with raises(ValueError, "weather"):
        Objective({"a": Asking("weather")}, {"a": 1.0})


def test_distrusted_samples_still_learn_identity() -> None:
    objective = Objective(
        {"pixel": PixelDistillation(), "identity": IdentityLoss()}, {"pixel": 1.0, "identity": 1.0}, ["pixel"]
    )
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    embedding = torch.randn(2, 4, requires_grad=True)
    prediction = Prediction(image, embedding, torch.rand(2, 1, 8, 8))
    answer, same = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.bool)
    supervision = Supervision(torch.rand(2, 3, 8, 8), torch.randn(2, 4), torch.ones(2, 1, 8, 8), same, answer)
    objective(prediction, supervision, torch.tensor([0.0, 1.0]))[0].backward()
    assert image.grad[0].abs().sum() == 0 and image.grad[1].abs().sum() > 0
    assert embedding.grad.abs().sum(1).gt(0).all()
