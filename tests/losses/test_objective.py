"""The objective: weights, trust, reports, and refusals."""

import pytest
import torch
from torch import nn

from idn.errors import UserError
from idn.losses.distillation import IdentityLoss, PixelDistillation
from idn.losses.objective import Objective
from idn.types import Prediction, Supervision


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


@pytest.mark.parametrize(
    ("weights", "reweighted", "said"),
    [
        ({"kd": 1.0}, [], "loss.weights lacks identity"),
        ({"kd": 1.0, "identity": 1.0, "gan": 1.0}, [], "loss.terms lacks gan"),
        ({"kd": 1.0, "identity": 1.0}, ["pixel"], "loss.reweighted names pixel"),
        ({"kd": -1.0, "identity": 1.0}, [], "loss.weights.kd is negative"),
        ({"kd": 0.0, "identity": 0.0}, [], "all 0"),
    ],
)
def test_names_must_match(weights: dict[str, float], reweighted: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Objective(TERMS, weights, reweighted)


@pytest.mark.parametrize(
    ("weights", "options", "said"),
    [
        ({"kd": 1.0}, {}, "teacher_loss.weights lacks identity"),
        ({"kd": 1.0, "identity": 1.0}, {"reweighted": ["pixel"]}, "teacher_loss.reweighted names pixel"),
        ({"kd": 1.0, "identity": 1.0}, {"fading": {"pixel": 3}}, "teacher_loss.fading names pixel"),
        ({"kd": -1.0, "identity": 1.0}, {}, "teacher_loss.weights.kd is negative"),
        ({"kd": 0.0, "identity": 0.0}, {}, "teacher_loss.weights are all 0"),
    ],
)
def test_sentences_name_the_options_of_their_group(weights: dict, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        Objective(TERMS, weights, **options, group="teacher_loss")


def test_only_known_terms_fade() -> None:
    with pytest.raises(UserError, match=r"loss\.fading names gan"):
        Objective(TERMS, {"kd": 1.0, "identity": 1.0}, fading={"gan": 3})


def test_distrusted_samples_still_learn_identity() -> None:
    objective = Objective(
        {"pixel": PixelDistillation(), "identity": IdentityLoss()}, {"pixel": 1.0, "identity": 1.0}, ["pixel"]
    )
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    embedding = torch.randn(2, 4, requires_grad=True)
    prediction = Prediction(image, torch.rand(2, 1, 8, 8), embedding)
    supervision = Supervision(torch.rand(2, 3, 8, 8), torch.randn(2, 4), torch.ones(2, 1, 8, 8))
    objective(prediction, supervision, torch.tensor([0.0, 1.0]))[0].backward()
    assert image.grad[0].abs().sum() == 0 and image.grad[1].abs().sum() > 0
    assert embedding.grad.abs().sum(1).gt(0).all()
