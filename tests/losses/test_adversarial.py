"""The terms that train a swapper without a teacher, against literal restatements."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import OptionError, UserError
from idn.losses.adversarial import (
    AttributePreservation,
    HingeDiscriminator,
    HingeGenerator,
    SamePersonReconstruction,
    WeakFeatureMatching,
)
from idn.losses.distillation import IdentityLoss
from idn.losses.objective import Objective
from idn.types import Prediction, Supervision, Verdict
from tests.losses.samples import rows
from tests.raising import raises

TERMS = {
    "adversarial": HingeGenerator(),
    "hinge": HingeGenerator("hinge", "sum"),
    "identity": IdentityLoss(),
    "l1": SamePersonReconstruction("l1"),
    "half_l2": SamePersonReconstruction("half_l2", share=0.2),
    "l1 normalised": SamePersonReconstruction("l1", std=(0.2, 0.4, 0.5)),
    "features": WeakFeatureMatching(2),
    "attributes": AttributePreservation(),
}


def verdict(n: int, g: torch.Generator, image: Tensor | None = None) -> Verdict:
    """Two scales with two maps each; if an image is given, everything depends on it."""
    pull = 0 if image is None else image.flatten(1).mean(1).view(n, 1, 1, 1)
    logits = tuple(2 * torch.randn(n, 1, s, s, generator=g) + pull for s in (4, 2))
    features = tuple(tuple(torch.randn(n, c, s, s, generator=g) + pull for c, s in ((3, 8), (5, 4))) for _ in range(2))
    return Verdict(logits, features)


def pair(n: int = 4) -> tuple[Prediction, Supervision, Tensor]:
    g = torch.Generator().manual_seed(0)
    image = torch.rand(n, 3, 8, 8, generator=g).requires_grad_()
    pull = image.flatten(1).mean(1)
    embeddings = F.normalize(torch.randn(2, n, 6, generator=g), dim=2)
    ours = F.normalize(embeddings[0] + pull[:, None], dim=1)
    maps = [torch.randn(2, n, c, s, s, generator=g) for c, s in ((4, 2), (2, 4))]
    kept, wanted = tuple(a + pull.view(n, 1, 1, 1) for a, _ in maps), tuple(b for _, b in maps)
    prediction = Prediction(image, ours, verdict=verdict(n, g, image), attributes=kept, target_attributes=wanted)
    same = torch.arange(n) % 2 == 0
    target, face = torch.rand(n, 3, 8, 8, generator=g), torch.ones(n, 1, 8, 8)
    supervision = Supervision(target, embeddings[1], face, same, verdict=verdict(n, g))
    return prediction, supervision, image


@pytest.mark.parametrize("name", TERMS)
def test_one_value_per_sample_whatever_the_batch(name):
    prediction, supervision, _ = pair()
    together = TERMS[name](prediction, supervision)
    alone = [TERMS[name](rows(prediction, slice(k, k + 1)), rows(supervision, slice(k, k + 1))) for k in range(4)]
    assert together.shape == (4,)
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_reaches_the_swap_of_every_sample_concerned(name):
    prediction, supervision, image = pair()
    TERMS[name](prediction, supervision).sum().backward()
    reached = image.grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == (supervision.same.tolist() if name.startswith(("l1", "half_l2")) else [True] * 4)


def test_the_hinge_of_the_discriminator_is_the_published_one():
    g = torch.Generator().manual_seed(1)
    real, fake = verdict(3, g), verdict(3, g)
    found = HingeDiscriminator()(real, fake)
    for k in range(3):
        expected = 0.0
        for r, f in zip(real.logits, fake.logits, strict=True):
            expected += sum(max(0.0, 1 - x) for x in r[k].flatten().tolist()) / r[k].numel() / 2
            expected += sum(max(0.0, 1 + x) for x in f[k].flatten().tolist()) / f[k].numel() / 2
        assert float(found[k]) == pytest.approx(expected, rel=1e-5)


def test_the_hinge_is_zero_beyond_the_margin_and_one_sided():
    sure = Verdict((torch.full((2, 1, 3, 3), 1.5),), ())
    fooled = Verdict((torch.full((2, 1, 3, 3), -1.5),), ())
    assert HingeDiscriminator()(sure, fooled).tolist() == [0.0, 0.0]
    assert HingeDiscriminator()(fooled, sure).tolist() == [5.0, 5.0]


def test_the_swapper_wants_high_logits():
    prediction, supervision, _ = pair()
    expected = -sum(x.flatten(1).mean(1) for x in prediction.verdict.logits) / 2
    torch.testing.assert_close(TERMS["adversarial"](prediction, supervision), expected)


@pytest.mark.parametrize("form", ["linear", "hinge"])
@pytest.mark.parametrize("scales", ["mean", "sum"])
def test_every_form_against_a_literal_restatement(form, scales):
    prediction, supervision, _ = pair()
    g = torch.Generator().manual_seed(2)
    real = verdict(4, g)
    made, judged = (
        HingeGenerator(form, scales)(prediction, supervision),
        HingeDiscriminator(scales)(real, prediction.verdict),
    )
    made, judged = made.detach(), judged.detach()
    for k in range(4):
        ours = theirs = 0.0
        for r, f in zip(real.logits, prediction.verdict.logits, strict=True):
            fakes, reals = f[k].flatten().tolist(), r[k].flatten().tolist()
            ours += sum(-x if form == "linear" else max(0.0, 1 - x) for x in fakes) / len(fakes)
            theirs += sum(max(0.0, 1 + x) for x in fakes) / len(fakes) + sum(max(0.0, 1 - x) for x in reals) / len(
                reals
            )
        parts = 1 if scales == "sum" else 2
        assert float(made[k]) == pytest.approx(ours / parts, rel=1e-5)
        assert float(judged[k]) == pytest.approx(theirs / parts, rel=1e-5)


def test_the_hinge_of_the_swapper_stops_pulling_beyond_the_margin():
    logits = torch.tensor([[1.5, -1.5]]).view(1, 1, 1, 2).requires_grad_()
    prediction = pair(1)[0]._replace(verdict=Verdict((logits,), ()))
    HingeGenerator("hinge")(prediction, pair(1)[1]).sum().backward()
    assert logits.grad.flatten().tolist() == [0.0, -0.5]


def test_feature_matching_compares_the_deepest_maps_only():
    prediction, supervision, _ = pair()
    ours, theirs = prediction.verdict.features, supervision.verdict.features
    expected = sum((ours[scale][1] - theirs[scale][1]).abs().mean((1, 2, 3)) for scale in range(2)) / 2
    torch.testing.assert_close(WeakFeatureMatching(1)(prediction, supervision), expected)
    every = sum((ours[s][m] - theirs[s][m]).abs().mean((1, 2, 3)) for s in range(2) for m in range(2)) / 4
    torch.testing.assert_close(WeakFeatureMatching(2)(prediction, supervision), every)


def test_features_of_the_target_get_no_gradient_and_its_attributes_do():
    prediction, supervision, _ = pair()
    features = tuple(tuple(m.requires_grad_() for m in scale) for scale in supervision.verdict.features)
    attributes = tuple(m.requires_grad_() for m in prediction.target_attributes)
    (TERMS["features"](prediction, supervision) + TERMS["attributes"](prediction, supervision)).sum().backward()
    assert all(m.grad is None for m in sum(features, ()))
    for ours, theirs in zip(prediction.attributes, attributes, strict=True):
        torch.testing.assert_close(theirs.grad, (theirs - ours).detach() / ours[0].numel())


def test_large_attributes_of_half_precision_do_not_overflow():
    prediction, supervision, _ = pair()
    far = tuple(torch.full_like(m, 400.0, dtype=torch.float16) for m in prediction.attributes)
    near = tuple(torch.zeros_like(m, dtype=torch.float16) for m in prediction.target_attributes)
    values = TERMS["attributes"](prediction._replace(attributes=far, target_attributes=near), supervision)
    torch.testing.assert_close(values, torch.full((4,), 400.0**2))


def test_attributes_are_half_the_squares_summed_over_the_maps():
    prediction, supervision, _ = pair()
    expected = torch.zeros(4)
    for ours, theirs in zip(prediction.attributes, prediction.target_attributes, strict=True):
        expected += 0.5 * (ours - theirs).square().mean((1, 2, 3))
    torch.testing.assert_close(TERMS["attributes"](prediction, supervision), expected)


def test_reconstruction_speaks_of_pairs_of_one_person_alone():
    prediction, supervision, _ = pair()
    difference = prediction.image - supervision.target
    same = supervision.same.float()
    torch.testing.assert_close(TERMS["l1"](prediction, supervision), difference.abs().mean((1, 2, 3)) * same)
    half = 0.5 * difference.square().mean((1, 2, 3)) * same / 0.2
    torch.testing.assert_close(TERMS["half_l2"](prediction, supervision), half)
    red, green, blue = difference.abs().mean((2, 3)).unbind(1)
    normalised = (red / 0.2 + green / 0.4 + blue / 0.5) / 3 * same
    torch.testing.assert_close(TERMS["l1 normalised"](prediction, supervision), normalised)


def test_values_are_float32_whatever_the_networks_gave():
    prediction, supervision, _ = pair()
    low = prediction._replace(verdict=Verdict(tuple(x.bfloat16() for x in prediction.verdict.logits), ()))
    assert TERMS["adversarial"](low, supervision).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: SamePersonReconstruction("l3"), "norm"),
        (lambda: SamePersonReconstruction(std=(0.5, 0.5)), "std"),
        (lambda: SamePersonReconstruction(std=(0.5, 0.5, 0.0)), "std"),
        (lambda: HingeGenerator("log"), "form"),
        (lambda: HingeGenerator("hinge", "max"), "scales"),
        (lambda: HingeDiscriminator("max"), "scales"),
        (lambda: SamePersonReconstruction("l1", share=0.0), "share"),
        (lambda: SamePersonReconstruction("l1", share=None), "share"),
        (lambda: SamePersonReconstruction(std=None), "std"),
        (lambda: SamePersonReconstruction(std=(0.5, "x", 0.5)), "std"),
        (lambda: WeakFeatureMatching(0), "deepest"),
    ],
)
def test_impossible_options_are_refused(make, argument):
    with raises(OptionError, argument=argument):
        make()


def test_attributes_of_a_swapper_without_an_encoder_are_refused():
    prediction, supervision, _ = pair()
    with raises(UserError):
        TERMS["attributes"](prediction._replace(attributes=()), supervision)
    with pytest.raises(ValueError):
        HingeGenerator()(prediction._replace(verdict=Verdict((), ())), supervision)


def test_the_objective_of_distillation_takes_them_as_they_are():
    prediction, supervision, _ = pair()
    objective = Objective({"adversarial": TERMS["adversarial"], "l1": TERMS["l1"]}, {"adversarial": 1.0, "l1": 10.0})
    total, parts = objective(prediction, supervision, torch.ones(4))
    assert total.item() == pytest.approx(float(parts["adversarial"] + 10 * parts["l1"]), rel=1e-5)
