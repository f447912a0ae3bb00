"""Loss terms: values from literal formulas, independent samples, and a gradient for the student."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from idn.errors import OptionError
from idn.losses.distillation import (
    BackgroundMask,
    FaceCoverage,
    FaceDistillation,
    IdentityLoss,
    MaskSegmentation,
    PerceptualDistillation,
    PixelDistillation,
)
from idn.types import Look, Prediction, Supervision
from tests.raising import raises

TERMS = [
    PixelDistillation(),
    FaceDistillation(),
    PerceptualDistillation(),
    PerceptualDistillation("pasted"),
    IdentityLoss(),
    IdentityLoss("pasted"),
    BackgroundMask(),
    MaskSegmentation(),
    FaceCoverage(),
]


def pair(n: int = 4, seed: int = 0) -> tuple[Prediction, Supervision]:
    g = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g)

    def maps() -> tuple[torch.Tensor, torch.Tensor]:
        return rand(n, 8, 16, 16), rand(n, 16, 8, 8) * 7

    image, mask, embedding = rand(n, 3, 32, 32), rand(n, 1, 32, 32), F.normalize(rand(n, 12) - 0.5)
    pasted = Look(F.normalize(rand(n, 12) - 0.5), maps())
    ours = Prediction(image, embedding, mask, maps(), generated=rand(n, 3, 32, 32), pasted=pasted)
    answer, source, face = rand(n, 3, 32, 32), F.normalize(rand(n, 12) - 0.5), (rand(n, 1, 32, 32) > 0.5).float()
    same = torch.zeros(n, dtype=torch.bool)
    theirs = Supervision(rand(n, 3, 32, 32), source, face, same, answer, maps())
    return ours, theirs


def take(values: Any, index: slice) -> Any:
    """Some samples of every tensor inside nested tuples."""
    if values is None or isinstance(values, torch.Tensor):
        return None if values is None else values[index]
    return (
        type(values)(*(take(v, index) for v in values))
        if hasattr(values, "_fields")
        else tuple(take(v, index) for v in values)
    )


def differentiable(ours: Prediction) -> list[torch.Tensor]:
    """Everything of a prediction that carries the gradient to the network."""
    look = ours.pasted
    return [ours.image, ours.embedding, ours.mask, *ours.perceptual, ours.generated, look.embedding, *look.perceptual]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_no_term_depends_on_the_batch(term: torch.nn.Module) -> None:
    ours, theirs = pair()
    together = term(ours, theirs)
    alone = torch.cat([term(take(ours, slice(k, k + 1)), take(theirs, slice(k, k + 1))) for k in range(4)])
    assert together.shape == (4,)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_every_term_gives_the_student_a_gradient(term: torch.nn.Module) -> None:
    ours, theirs = pair()
    leaves = [v.requires_grad_() for v in differentiable(ours)]
    term(ours, theirs).sum().backward()
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert grads and all(grad.flatten(1).abs().sum(1).gt(0).all() for grad in grads)


@pytest.mark.parametrize("kind", [IdentityLoss, PerceptualDistillation])
def test_a_term_of_the_pasted_face_reads_nothing_else(kind: type[torch.nn.Module]) -> None:
    ours, theirs = pair()
    swapped = ours._replace(embedding=ours.pasted.embedding, perceptual=ours.pasted.perceptual)
    torch.testing.assert_close(kind("pasted")(ours, theirs), kind()(swapped, theirs))
    assert "pasted" in kind("pasted").needs and "pasted" not in kind().needs and "seen" in kind().needs
    assert ("answer" in kind("pasted").needs) == (kind is PerceptualDistillation), "identity is not compared with it"
    with raises(OptionError, argument="of", value="face"):
        kind("face")


def test_the_face_counts_alike_however_small_and_whatever_lies_around_it() -> None:
    face = torch.zeros(2, 1, 32, 32)
    face[0, :, 4:28, 4:28] = face[1, :, 12:16, 12:16] = 1
    answer, wrong = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    generated = torch.where(F.max_pool2d(face, 3, 1, 1) > 0, answer + 0.25, wrong)
    ours = Prediction(wrong, mask=torch.zeros(2, 1, 32, 32), generated=generated)
    theirs = Supervision(answer, wrong, face, torch.zeros(2, dtype=torch.bool), answer)
    torch.testing.assert_close(FaceDistillation()(ours, theirs), torch.full((2,), 0.25))
    unmasked = FaceDistillation()(Prediction(generated), theirs)
    torch.testing.assert_close(unmasked, torch.full((2,), 0.25), msg="without a fusion the swap itself is compared")


def test_a_closed_mask_is_opened_by_segmentation_alone() -> None:
    ours, theirs = pair()
    closed = torch.full_like(ours.mask, 1e-3).requires_grad_()
    MaskSegmentation()(ours._replace(mask=closed), theirs).sum().backward()
    assert closed.grad[theirs.face == 1].max() < 0 < closed.grad[theirs.face == 0].min()


def test_no_term_holds_weights() -> None:
    assert not [p for term in TERMS for p in [*term.parameters(), *term.buffers()]]


def test_values_follow_the_equations() -> None:
    ours, theirs = pair(1)
    torch.testing.assert_close(PixelDistillation()(ours, theirs)[0], (ours.image - theirs.answer).abs().mean())
    cosine = torch.dot(ours.embedding[0], theirs.embedding[0])
    torch.testing.assert_close(IdentityLoss()(ours, theirs)[0], 1 - cosine)
    outside = theirs.face[0] == 0
    torch.testing.assert_close(BackgroundMask()(ours, theirs)[0], ours.mask[0][outside].mean())
    torch.testing.assert_close(FaceCoverage()(ours, theirs)[0], 1 - ours.mask[0][~outside].mean())
    expected = F.binary_cross_entropy(ours.mask[0], theirs.face[0])
    torch.testing.assert_close(MaskSegmentation()(ours, theirs)[0], expected)
    ratios = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(ours.perceptual, theirs.perceptual, strict=True)]
    torch.testing.assert_close(PerceptualDistillation()(ours, theirs)[0], sum(ratios) / 2)


def test_the_mask_is_free_inside_the_face() -> None:
    ours, theirs = pair()
    inside = ours._replace(mask=theirs.face * 0.7)
    assert BackgroundMask()(inside, theirs).abs().max() == 0
    everywhere = theirs._replace(face=torch.ones_like(theirs.face))
    assert BackgroundMask()(ours, everywhere).abs().max() == 0


def test_perceptual_maps_of_any_scale_count_alike() -> None:
    ours, theirs = pair()
    scaled = [p._replace(perceptual=tuple(m * 100 for m in p.perceptual)) for p in (ours, theirs)]
    torch.testing.assert_close(PerceptualDistillation()(*scaled), PerceptualDistillation()(ours, theirs))


def test_perceptual_without_maps_is_an_error() -> None:
    ours, theirs = pair()
    with raises(ValueError, "perceptual"):
        PerceptualDistillation()(ours._replace(perceptual=()), theirs)
