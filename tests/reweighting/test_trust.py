"""Trust: cosine squared, never from a negative cosine, times quality."""

import pytest
import torch
from torch import nn

from idn.errors import OptionError
from idn.reweighting.trust import Trust
from tests.raising import raises


class Halves(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images),), 0.5)


IMAGES = torch.rand(3, 3, 8, 8)
SOURCE = torch.tensor([[1.0, 0.0]]).expand(3, 2)
TEACHER = torch.tensor([[0.6, 0.8], [-0.6, 0.8], [1.0, 0.0]])
COSINE = (TEACHER * SOURCE).sum(1)


@pytest.mark.parametrize(
    ("variant", "scorer", "expected"),
    [("none", None, [1, 1, 1]), ("identity", None, [0.36, 0, 1]), ("identity_quality", Halves(), [0.18, 0, 0.5])],
)
def test_trust_follows_its_definition(variant: str, scorer: nn.Module | None, expected: list[float]) -> None:
    torch.testing.assert_close(Trust(variant, scorer)(COSINE, IMAGES), torch.tensor(expected).float())


def test_a_quality_that_is_known_is_used_instead_of_asking_again() -> None:
    class Silent(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

    known = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(
        Trust("identity_quality", Silent())(COSINE, IMAGES, known), torch.tensor([0.09, 0, 0.75])
    )
    torch.testing.assert_close(Trust("identity")(COSINE, IMAGES, known), torch.tensor([0.36, 0, 1]))


def test_trust_carries_no_gradient() -> None:
    assert not Trust("identity")(COSINE.clone().requires_grad_(), IMAGES).requires_grad


@pytest.mark.parametrize(
    ("variant", "scorer"), [("identity", Halves()), ("identity_quality", None), ("none", Halves())]
)
def test_a_scorer_goes_with_its_variant_only(variant: str, scorer: nn.Module | None) -> None:
    with raises(OptionError, argument="variant"):
        Trust(variant, scorer)


def test_unknown_variant() -> None:
    with raises(OptionError, argument="variant"):
        Trust("cosine")
