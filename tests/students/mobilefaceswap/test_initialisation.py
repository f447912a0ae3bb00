"""The start of a student: kernels with their own shapes, even maps, an undecided mask, the same for the same seed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.images import to_pm1
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.kernel_shapes import own_shapes
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription

ENCODERS = [EncoderDescription(128, 512), EncoderDescription(512, 512), EncoderDescription(16, 64, 4)]


def fresh(width: float = 1.0, encoder: EncoderDescription = ENCODERS[0], seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(encoder, width)


def predicted(student: Student, n: int = 8) -> DynamicWeights:
    g = torch.Generator().manual_seed(1)
    dim, channels, size = student.injection.expected
    embedding = F.normalize(torch.randn(n, dim, generator=g), dim=1)
    with torch.no_grad():
        return student.inject(embedding, torch.rand(n, channels, size, size, generator=g))


def constant_share(kernels: Tensor) -> float:
    """Energy of the mean of every kernel, relative to all of it."""
    return float(kernels.mean((2, 3), keepdim=True).expand_as(kernels).square().sum() / kernels.square().sum())


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 2.0])
def test_no_pair_but_the_first_starts_as_a_blur(width: float, encoder: EncoderDescription) -> None:
    first, *others = predicted(fresh(width, encoder)).depthwise
    assert constant_share(first) > 0.2, "the colours of the picture come through"
    for kernels in others:
        assert constant_share(kernels) < 0.05
        shapes = F.normalize(kernels.mean(0).flatten(1), dim=1)
        likeness = (shapes @ shapes.T).fill_diagonal_(0).abs()
        assert likeness.mean() < 0.5, "channels differ from each other"


def test_kernels_mostly_are_the_same_for_everybody_and_yet_depend_on_the_identity() -> None:
    for kernels in predicted(fresh()).depthwise[1:]:
        common = kernels.mean(0)
        share = ((kernels - common).square().mean() / common.square().mean()).sqrt()
        assert 0.05 < share < 0.7


@pytest.mark.parametrize("width", [0.25, 1.0, 2.0])
def test_maps_of_faces_keep_an_even_magnitude(width: float) -> None:
    student = fresh(width)
    weights = predicted(student, 4)
    g = torch.Generator().manual_seed(2)
    renderer = FaceRenderer()
    who, how = renderer.sample_identity(4, g), renderer.sample_attributes(4, g)
    x = to_pm1(renderer.render(who, how, 64).image)
    for kernels, pointwise, demodulation in zip(
        weights.depthwise[:5], weights.pointwise[:5], weights.demodulation[:5], strict=True
    ):
        n, c = kernels.shape[:2]
        x = F.conv2d(x.reshape(1, n * c, *x.shape[2:]), kernels.flatten(0, 1)[:, None], None, 2, 1, 1, n * c)
        x = F.conv2d(x.unflatten(1, (n, c))[0], pointwise[:, :, None, None]) * demodulation[:, :, None, None]
        x = F.leaky_relu(x, 0.1)
        assert 0.1 < x.square().mean().sqrt() < 5


def test_the_mask_can_go_either_way() -> None:
    student = fresh()
    out = student.swap(torch.rand(4, 3, 64, 64), predicted(student, 4))
    assert 0.3 < out.mask.mean() < 0.7 and out.mask.min() > 0.01 and out.mask.max() < 0.99


def test_the_start_follows_the_seed() -> None:
    one, same, other = (fresh(0.25, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one if "readout" in key)


@pytest.mark.parametrize("side", [3, 4])
def test_shapes_are_of_norm_one_and_blurs_only_where_they_should_be(side: int) -> None:
    torch.manual_seed(0)
    differences, blurs = own_shapes(500, side, 0.0), own_shapes(500, side, 100.0)
    torch.testing.assert_close(differences.flatten(1).norm(dim=1), torch.ones(500))
    assert constant_share(differences[None]) < 1e-6 and constant_share(blurs[None]) > 0.99
