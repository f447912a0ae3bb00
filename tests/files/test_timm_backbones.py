"""Models of timm: built, refused in one sentence, and asked what they were published for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from idn.encoders.timm_encoder import TimmEncoder
from idn.errors import OptionError
from idn.files.timm_backbones import build_model, published
from idn.images import IMAGENET_MEAN, IMAGENET_STD
from idn.losses.perceptual_features import TimmFeatures
from idn.reweighting.scorer import ScorerNetwork
from idn.training.discriminators import ProjectedDiscriminator


class HubError(Exception):
    """Stands for a class of the hub's client."""


REFUSAL = OptionError("model", "resnet10t", "take another")
USERS = {
    "model": (
        lambda: TimmFeatures("resnet10t", [0], None),
        lambda: TimmEncoder("resnet10t", None, "ffhq"),
    ),
    "backbone": (lambda: ProjectedDiscriminator("resnet10t"), lambda: ScorerNetwork(32, "hub")),
}


@pytest.mark.parametrize("fault", [HubError("no\nroute. "), OSError(), TypeError("unexpected"), LookupError("x" * 999)])
@pytest.mark.parametrize(("argument", "make"), [(argument, make) for argument, both in USERS.items() for make in both])
def test_whatever_goes_wrong_is_one_sentence_about_the_argument(
    argument: str, make: Callable[[], nn.Module], fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(model: str, pretrained: bool, **options: object) -> None:
        assert pretrained
        raise fault

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(OptionError) as caught:
        make()
    said = str(caught.value)
    assert caught.value.argument == argument and type(fault).__name__ in said
    assert "give" in said and "\n" not in said and len(said) < 500 and caught.value.__cause__ is fault


def test_nobody_else_builds_models_of_timm() -> None:
    root = Path(__file__).parents[2]
    building = [path for path in [*root.glob("idn/**/*.py"), *root.glob("teachers/*.py")]]
    assert [path.name for path in building if "timm.create_model(" in path.read_text()] == ["timm_backbones.py"]


def test_options_reach_timm_and_nothing_is_downloaded() -> None:
    net = build_model("resnet10t", False, REFUSAL, {"num_classes": 3})
    assert net(torch.rand(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("options", [{}, {"features_only": True, "out_indices": [0]}])
def test_what_a_model_was_published_for_is_told(options: dict[str, object]) -> None:
    plain = published(build_model("resnet10t", False, REFUSAL, options))
    assert plain == (176, IMAGENET_MEAN, IMAGENET_STD)
    overlay = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "input_size": (3, 96, 96)}
    told = published(build_model("resnet10t", False, REFUSAL, options | {"pretrained_cfg_overlay": overlay}))
    assert told == (96, overlay["mean"], overlay["std"])
