"""Trust: cosine squared, never from a negative cosine, times quality."""

import pytest
import torch
from torch import nn

from idn.errors import UserError
from idn.losses.reweight import Trust


class Halves(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images),), 0.5)


IMAGES = torch.rand(3, 3, 8, 8)
SOURCE = torch.tensor([[1.0, 0.0]]).expand(3, 2)
TEACHER = torch.tensor([[0.6, 0.8], [-0.6, 0.8], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("variant", "scorer", "expected"),
    [("none", None, [1, 1, 1]), ("identity", None, [0.36, 0, 1]), ("identity_quality", Halves(), [0.18, 0, 0.5])],
)
def test_trust_follows_its_definition(variant: str, scorer: nn.Module | None, expected: list[float]) -> None:
    torch.testing.assert_close(Trust(variant, scorer)(TEACHER, SOURCE, IMAGES), torch.tensor(expected).float())


def test_trust_carries_no_gradient() -> None:
    assert not Trust("identity")(TEACHER.clone().requires_grad_(), SOURCE, IMAGES).requires_grad


@pytest.mark.parametrize(
    ("variant", "scorer"), [("identity", Halves()), ("identity_quality", None), ("none", Halves())]
)
def test_a_scorer_goes_with_its_variant_only(variant: str, scorer: nn.Module | None) -> None:
    with pytest.raises(UserError, match=r"reweight\.scorer"):
        Trust(variant, scorer)


def test_unknown_variant() -> None:
    with pytest.raises(UserError, match="choose none, identity or identity_quality"):
        Trust("cosine")
