"""The losses of MobileFSGAN: what they are, and that they do not do what the published code does by mistake."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import OptionError
from idn.losses.adversarial import HingeDiscriminator, HingeGenerator
from idn.losses.distillation import FaceDistillation, IdentityLoss, PerceptualDistillation, PixelDistillation
from idn.losses.mobilefsgan import IdentityMargin, TargetPerceptual, TripletReconstruction
from idn.losses.objective import Objective
from idn.types import Look, Prediction, Supervision, Verdict
from tests.losses.samples import rows
from tests.raising import raises

N, S = 4, 32


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pair() -> tuple[Prediction, Supervision]:
    """Four swaps with everything that a term may ask for; all of it differs from sample to sample."""
    who = F.normalize(random(4, N, 6, seed=1) - 0.5, dim=2)
    maps = [(random(N, 3, 8, 8, seed=k), random(N, 5, 4, 4, seed=k + 1)) for k in (2, 4, 6)]
    logits = tuple(4 * random(N, 1, s, s, seed=8 + s) - 2 for s in (5, 3, 2))
    prediction = Prediction(
        image=random(N, 3, S, S, seed=9).requires_grad_(),
        embedding=who[0],
        perceptual=maps[0],
        verdict=Verdict(logits),
        pasted=Look(who[0], maps[0]),
        scale_embeddings=(who[1], who[2]),
    )
    target, answer = random(2, N, 3, S, S, seed=10)
    same, face = torch.zeros(N, dtype=torch.bool), torch.ones(N, 1, S, S)
    return prediction, Supervision(target, who[3], face, same, answer, maps[1], target_perceptual=maps[2])


TERMS = {
    "identity": IdentityMargin(),
    "identity_half": IdentityMargin(scale=1),
    "reconstruction": TripletReconstruction(),
    "perceptual": TargetPerceptual([0.6, 1.2]),
    "adversarial": HingeGenerator("hinge", [1.0, 0.02, 0.02]),
}


@pytest.mark.parametrize("name", TERMS)
def test_a_sample_counts_the_same_alone_and_in_any_batch(name):
    prediction, supervision = pair()
    together = TERMS[name](prediction, supervision)
    for number in range(N):
        part = torch.tensor([number] * 3)
        alone = TERMS[name](rows(prediction, part), rows(supervision, part))
        torch.testing.assert_close(alone, together[part])


def test_the_adversarial_term_does_not_grow_with_the_batch_as_the_published_sum_does():
    def published(x: Tensor) -> Tensor:
        return sum(torch.relu(1 - one).mean() for one in x)  # over what iterates: the samples

    (prediction, supervision), term = pair(), HingeGenerator("hinge", [1.0, 0.02, 0.02])
    twice = rows(prediction, torch.arange(N).repeat(2)), rows(supervision, torch.arange(N).repeat(2))
    one, two = (term(*given).mean() for given in ((prediction, supervision), twice))
    torch.testing.assert_close(two, one)
    maps, repeated = prediction.verdict.logits[0], twice[0].verdict.logits[0]
    torch.testing.assert_close(published(repeated), 2 * published(maps))


def test_identity_spares_what_is_within_the_margin_and_averages_over_all_samples():
    near, far = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 1.0]]), dim=1)
    source = torch.tensor([[1.0, 0.0]] * N)
    prediction = Prediction(random(N, 3, S, S), torch.stack([near, near, near, far]))
    supervision = Supervision(random(N, 3, S, S), source, torch.ones(N, 1, S, S), torch.zeros(N, dtype=torch.bool))
    values = IdentityMargin(0.02)(prediction, supervision)
    assert values[:3].tolist() == [0, 0, 0]
    assert float(values[3]) == pytest.approx(1 - 0.5**0.5 - 0.02, abs=1e-6)
    published = values.sum() / (values > 0).sum()
    assert float(values.mean()) == pytest.approx(float(published) / 4), "there, one sample weighs as much as four"


def test_identity_looks_at_the_picture_that_it_is_told():
    prediction, supervision = pair()
    for scale, ours in enumerate((prediction.embedding, *prediction.scale_embeddings)):
        expected = [max(0.0, 1 - float(a @ b) - 0.1) for a, b in zip(ours, supervision.embedding, strict=True)]
        torch.testing.assert_close(IdentityMargin(0.1, scale)(prediction, supervision), torch.tensor(expected))
    with raises(OptionError, argument="scale", value=3):
        IdentityMargin(scale=3)(prediction, supervision)
    for argument, options in {"margin": {"margin": -1.0}, "scale": {"scale": -1}}.items():
        with raises(OptionError, argument=argument):
            IdentityMargin(**options)


def test_reconstruction_is_half_the_squared_difference_of_pictures_in_minus_one_to_one():
    prediction, supervision = pair()
    a, b = (2 * picture.detach() - 1 for picture in (prediction.image, supervision.answer))
    expected = [0.5 * float((x - y).square().sum(0).mean()) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(TripletReconstruction()(prediction, supervision), torch.tensor(expected))


def test_what_a_warp_has_left_black_pulls_nothing_not_even_at_the_border():
    prediction, supervision = pair()
    answer = supervision.answer.clone()
    answer[:, :, :10] = 0  # upper rows, which the published code always compares
    answer[:, :, :, -5:] = 0
    value = TripletReconstruction()(prediction, supervision._replace(answer=answer))
    value.sum().backward()
    assert not prediction.image.grad[:, :, :10].any() and not prediction.image.grad[:, :, :, -5:].any()
    inner = rows(prediction._replace(image=prediction.image[:, :, 10:, :-5]), torch.arange(N))
    expected = TripletReconstruction()(inner, supervision._replace(answer=answer[:, :, 10:, :-5]))
    torch.testing.assert_close(value, expected)
    empty = supervision._replace(answer=torch.zeros_like(answer))
    assert TripletReconstruction()(prediction, empty).tolist() == [0.0] * N


def test_features_of_the_target_are_weighed_map_by_map():
    prediction, supervision = pair()
    distances = [
        (a - b).abs().flatten(1).mean(1)
        for a, b in zip(prediction.perceptual, supervision.target_perceptual, strict=True)
    ]
    expected = 0.6 * distances[0] + 1.2 * distances[1]
    torch.testing.assert_close(TargetPerceptual([0.6, 1.2])(prediction, supervision), expected)
    torch.testing.assert_close(TargetPerceptual(None)(prediction, supervision), distances[0] + distances[1])
    for weights in ([1.0], [0.0, 0.0]):
        with raises(OptionError, argument="weights"):
            TargetPerceptual(weights)(prediction, supervision)
    with raises(OptionError, argument="weights"):
        TargetPerceptual([-1.0, 1.0])


def test_each_size_has_its_factor_in_both_hinges():
    prediction, _ = pair()
    logits, factors = prediction.verdict.logits, (1.0, 0.5, 0.0)
    expected = sum(w * F.relu(1 - one).flatten(1).mean(1) for w, one in zip(factors, logits, strict=True))
    torch.testing.assert_close(HingeGenerator("hinge", factors)(*pair()), expected)
    both = HingeDiscriminator(factors)(Verdict(logits), Verdict(logits))
    expected = expected + sum(w * F.relu(1 + one).flatten(1).mean(1) for w, one in zip(factors, logits, strict=True))
    torch.testing.assert_close(both, expected)
    for scales in ([1.0, 1.0], [0.0, 0.0, 0.0], [1.0, -1.0, 1.0], "most", None):
        with raises(OptionError, argument="scales"):
            HingeGenerator("hinge", scales)(*pair())


ANSWERED = {
    "reconstruction": TripletReconstruction(),
    "pixel": PixelDistillation(),
    "face": FaceDistillation(),
    "perceptual": PerceptualDistillation("pasted"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_pair_whose_swap_nobody_knows_is_compared_with_nothing(name):
    """Whatever stands in the place of its answer: the published code takes a black picture there, and compares."""
    prediction, supervision = pair()
    known = torch.tensor([True, False, True, False])
    objective = Objective({name: ANSWERED[name]}, {name: 1.0})
    given = supervision._replace(known=known)
    answer, maps = given.answer.clone(), tuple(level.clone() for level in given.perceptual)
    for tensor in (answer, *maps):
        tensor[~known] = 0
    total, _ = objective(prediction, given)
    changed, _ = objective(prediction, given._replace(answer=answer, perceptual=maps))
    assert torch.equal(total, changed) and total > 0
    values = ANSWERED[name](prediction, supervision)
    torch.testing.assert_close(total, values[known].sum() / N)
    torch.testing.assert_close(objective(prediction, supervision)[0], values.mean())


def test_a_pair_without_an_answer_still_learns_identity():
    prediction, supervision = pair()
    nobody = supervision._replace(known=torch.zeros(N, dtype=torch.bool))
    for term in (IdentityLoss("pasted"), IdentityLoss(), IdentityMargin()):
        objective = Objective({"identity": term}, {"identity": 1.0})
        assert torch.equal(objective(prediction, nobody)[0], objective(prediction, supervision)[0])
