"""Damage grows with its strength, costs about the same whatever its kind, and depends on its generator alone."""

import statistics

import pytest
import torch

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.errors import OptionError
from idn.metrics.images import absolute_error
from idn.reweighting.graded.degradations import KINDS, Scene, degrade
from tests.raising import raises

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    renderer = FaceRenderer()
    batch = ProceduralSwaps(renderer, 64, 12, seed=5, same_ratio=0.0)[0]
    stranger = renderer.render(batch.source_identity.roll(1, 0), batch.target_attributes, 64).image
    return Scene(batch.truth, batch.target, batch.face, stranger)


def damage(scene: Scene, kind: str, strength: float, seed: int = 0) -> float:
    images = degrade(scene, [kind], strength, torch.Generator().manual_seed(seed))
    return float(absolute_error(images, scene.answer, scene.face).mean())


def test_no_strength_changes_nothing(scene: Scene) -> None:
    images = degrade(scene, list(KINDS), 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(images, scene.answer)


@pytest.mark.parametrize("kind", list(KINDS))
def test_damage_grows_with_its_strength(kind: str, scene: Scene) -> None:
    values = [damage(scene, kind, strength) for strength in STRENGTHS]
    assert values == sorted(values) and values[0] > 0.005 and values[-1] > 1.5 * values[0]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_strength_costs_about_the_same_whatever_the_damage(strength: float, scene: Scene) -> None:
    values = [damage(scene, kind, strength) for kind in KINDS]
    middle = statistics.median(values)
    assert all(0.6 * middle < value < 1.7 * middle for value in values), dict(zip(KINDS, values, strict=True))


def test_mixtures_end_at_equal_parts(scene: Scene) -> None:
    face = Scene(scene.answer, scene.target, torch.ones_like(scene.face), scene.stranger)
    for kind, other in (("target", scene.target), ("stranger", scene.stranger)):
        images = degrade(face, [kind], 1.0, torch.Generator().manual_seed(0))
        torch.testing.assert_close(images, (scene.answer + other) / 2)


def test_half_of_the_pictures_are_spoiled_inside_the_face_only(scene: Scene) -> None:
    draw = torch.Generator().manual_seed(1)
    outside = [(degrade(scene, ["noise"], 1.0, draw) - scene.answer) * (scene.face == 0) for _ in range(5)]
    untouched = (torch.cat(outside).abs().flatten(1).amax(1) == 0).float().mean()
    assert 0.3 < untouched < 0.7


def test_the_generator_alone_decides(scene: Scene) -> None:
    def spoiled(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return degrade(scene, list(KINDS), 0.7, torch.Generator().manual_seed(3))

    assert torch.equal(spoiled(0), spoiled(1))
    other = degrade(scene, list(KINDS), 0.7, torch.Generator().manual_seed(4))
    assert not torch.equal(spoiled(0), other)
    assert ((other >= 0) & (other <= 1)).all()


def test_what_cannot_be_drawn_is_refused(scene: Scene) -> None:
    draw = torch.Generator()
    for kinds in (["blur", "frost"], []):
        with raises(OptionError, argument="kinds"):
            degrade(scene, kinds, 0.5, draw)
    with raises(ValueError, "stranger"):
        degrade(scene._replace(stranger=None), ["stranger"], 0.5, draw)
