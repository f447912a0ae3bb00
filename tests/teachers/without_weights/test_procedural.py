from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from idn.errors import OptionError, UserError
from idn.metrics.images import psnr
from idn.reweighting.graded.degradations import spoil
from idn.types import IdentityFeatures, SwapBatch
from teachers.without_weights.procedural import ProceduralTeacher
from tests.raising import raises

SIZE = 48


class Drawn(NamedTuple):
    image: Tensor


class Waves:
    """Identity sets the colours of a pattern, attributes its place."""

    def sample_identity(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, 6, generator=generator)

    def render(self, identity: Tensor, attributes: Tensor, size: int) -> Drawn:
        line = torch.linspace(0, 6, size, device=identity.device)
        waves = (line[None, :, None] * 2 + line[None, None, :] * 3 + 6 * attributes[:, :1, None]).sin()
        low, high = 0.5 * identity[:, :3, None, None], 1 - 0.5 * identity[:, 3:, None, None]
        return Drawn(low + (high - low) * (waves[:, None] + 1) / 2)


def batch_of(n: int, seed: int = 0, size: int = SIZE) -> SwapBatch:
    g = torch.Generator().manual_seed(seed)
    renderer = Waves()
    who, other = renderer.sample_identity(n, g), renderer.sample_identity(n, g)
    how = torch.rand(n, 5, generator=g) * 2 - 1
    face = torch.zeros(n, 1, size, size)
    face[..., size // 4 : -size // 4, size // 4 : -size // 4] = 1
    images = [renderer.render(i, how, size).image for i in (who, other, who)]
    return SwapBatch(images[0], images[1], face, torch.zeros(n, dtype=torch.bool), images[2], who, how)


def features(n: int) -> IdentityFeatures:
    return IdentityFeatures(torch.zeros(n, 4), torch.zeros(n, 4, 2, 2))


def pick(batch: SwapBatch, index: Tensor) -> SwapBatch:
    return batch.take(index)


def test_truth_when_it_never_fails():
    batch = batch_of(4)
    teacher = ProceduralTeacher(Waves(), 0.0, 0.0, seed=0)
    assert torch.equal(teacher(batch, features(4)), batch.truth)
    bare = batch._replace(source_identity=None, target_attributes=None)
    assert torch.equal(teacher(bare, features(4)), batch.truth)


@pytest.mark.parametrize(("p", "q"), [(0.3, 0.1), (0.0, 0.5), (1.0, 0.0)])
def test_failure_rates_and_independence(p, q):
    batch = batch_of(20000, size=4)
    wrong, spoiled = ProceduralTeacher(Waves(), p, q, seed=5).failures(batch)
    for found, share in ((wrong, p), (spoiled, q), (wrong & spoiled, p * q)):
        assert abs(found.double().mean().item() - share) <= 4 * (share * (1 - share) / 20000) ** 0.5


def test_failures_follow_the_sample_not_the_batch_or_the_global_state():
    batch = batch_of(64)
    teacher = ProceduralTeacher(Waves(), 0.4, 0.4, seed=1)
    image, (wrong, spoiled) = teacher(batch, features(64)), teacher.failures(batch)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(9))[:40]
    torch.manual_seed(77)
    other = pick(batch, order)
    assert torch.equal(torch.stack(teacher.failures(other)), torch.stack([wrong[order], spoiled[order]]))
    torch.testing.assert_close(teacher(other, features(40)), image[order])


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    ProceduralTeacher(Waves(), 1.0, 1.0, seed=1)(batch_of(4), features(4))
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides_who_fails():
    batch = batch_of(1000, size=4)
    first, second = (ProceduralTeacher(Waves(), 0.5, 0.0, seed=s).failures(batch)[0] for s in (0, 1))
    assert 0.4 < (first == second).double().mean() < 0.6


def test_wrong_identity_is_a_stranger_with_the_targets_attributes():
    batch = batch_of(64)
    teacher = ProceduralTeacher(Waves(), 0.5, 0.0, seed=2)
    out, (wrong, _) = teacher(batch, features(64)), teacher.failures(batch)
    assert torch.equal(out[~wrong], batch.truth[~wrong])
    assert (psnr(out, batch.truth)[wrong] < 25).double().mean() > 0.9
    strangers = out[wrong].flatten(2)
    place = batch.truth[wrong].mean(1).flatten(1)
    for stranger, truth in zip(strangers, place, strict=True):
        shape = torch.corrcoef(torch.stack([stranger[0], truth]))[0, 1].abs()
        assert shape > 0.99


def test_artefacts_are_visible_inside_the_face_only():
    batch = batch_of(64)
    teacher = ProceduralTeacher(Waves(), 0.0, 0.5, seed=2)
    out, (_, spoiled) = teacher(batch, features(64)), teacher.failures(batch)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out[~spoiled], batch.truth[~spoiled])
    inside = psnr(out, batch.truth, batch.face)[spoiled]
    assert inside.max() < 25
    assert inside.median() < 18
    assert (psnr(out, batch.truth, 1 - batch.face) == 100).all()


def test_artefacts_vary_and_depend_on_the_generator_alone():
    image, face = batch_of(1).truth[0], torch.ones(1, SIZE, SIZE)
    outcomes = torch.stack([spoil(image, face, torch.Generator().manual_seed(s)) for s in range(30)])
    assert len(outcomes.flatten(1).unique(dim=0)) > 25
    twice = [spoil(image, face, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*twice)


def test_a_truth_that_the_batch_lacks_is_drawn():
    batch = batch_of(4)
    teacher = ProceduralTeacher(Waves(), 0.0, 0.0, seed=0)
    assert torch.equal(teacher(batch._replace(truth=None), features(4)), batch.truth)


def test_strict_errors():
    batch = batch_of(2)
    unknown = batch._replace(truth=None, source_identity=None)
    with raises(UserError, "procedural faces"):
        ProceduralTeacher(Waves(), 0.0, 0.0, seed=0)(unknown, features(2))
    with raises(UserError, "wrong_identity", "artefacts"):
        ProceduralTeacher(Waves(), 0.1, 0.0, seed=0)(batch._replace(source_identity=None), features(2))
    with raises(OptionError, argument="artefacts"):
        ProceduralTeacher(Waves(), 0.0, 1.5, seed=0)
