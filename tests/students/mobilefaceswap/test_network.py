import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from idn.errors import UserError
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription, IdentityFeatures
from tests.raising import raises

TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-4)}


def small_student(dtype=torch.float32) -> Student:
    """A narrow student with gains that matter, BatchNorms that have seen a batch and a half-open mask."""
    torch.manual_seed(3)
    student = Student(EncoderDescription(16, 24), width=0.25)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data *= 1 + 0.2 * torch.randn_like(module.weight)
            module.bias.data += 0.2 * torch.randn_like(module.bias)
            module.momentum = 0.9
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.5)
            nn.init.normal_(module.bias, 0, 0.2)
    nn.init.zeros_(student.idn.fusion.last.bias)
    target, emb, features = inputs(dtype=dtype)
    student.to(dtype).train()(target, IdentityFeatures(emb, features))
    return student


def inputs(n=3, size=64, dtype=torch.float32):
    generator = torch.Generator().manual_seed(8)
    emb = F.normalize(torch.randn(n, 16, generator=generator, dtype=torch.float64))
    features = torch.randn(n, 24, 7, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64)
    return tuple(x.to(dtype).requires_grad_() for x in (target, emb, features))


def double(x):
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def literal_body(x, kernels, pointwise):
    """Encoder and decoder for one sample, as the paper draws them: deepest encoder map, last decoder map."""
    maps = []
    for kernel, weight in zip(kernels[:5], pointwise[:5], strict=True):
        x = F.conv2d(x, kernel[:, None], stride=2, padding=1, groups=len(kernel))
        x = F.leaky_relu(F.conv2d(x, weight[:, :, None, None]), 0.1)
        maps.append(x)
    for i, (kernel, weight) in enumerate(zip(kernels[5:], pointwise[5:], strict=True)):
        x = F.conv2d(double(x), kernel[:, None], padding=1, groups=len(kernel))
        x = F.leaky_relu(F.conv2d(x, weight[:, :, None, None]), 0.1)
        if i < 3:
            x = torch.cat([x, maps[3 - i]], 1)
    return maps[4], x


def literal(student, target, emb, features):
    """The published student, one sample after the other wherever weights depend on the identity."""
    predicted = student.injection.prediction(features)
    bodies = []
    for n in range(len(target)):
        pointwise = []
        for module in student.injection.modulation:
            weight = module.weight * (1 + module.gain(emb[n]))
            pointwise.append(weight / (weight.square().sum(1, keepdim=True) + 1e-16).sqrt())
        bodies.append(literal_body(target[n : n + 1] * 2 - 1, [k[n] for k in predicted], pointwise))
    deepest, x = (torch.cat(parts) for parts in zip(*bodies, strict=True))
    head, fusion = student.idn.head, student.idn.fusion
    x = F.leaky_relu(head.norm1(head.reduce(double(x))), 0.1)
    x = F.leaky_relu(head.norm2(head.conv1(x)), 0.1)
    generated = (torch.tanh(head.conv2(x)) + 1) / 2
    mask = deepest.detach()
    for stage in fusion.stages:
        mask = F.leaky_relu(stage.norm(stage.pointwise(stage.depthwise(double(mask)))), 0.1)
    mask = torch.sigmoid(fusion.last(mask))
    return mask * generated + (1 - mask) * target, mask


def gradients(student, given, image, mask):
    torch.manual_seed(11)
    loss = (image * torch.randn_like(image)).mean() + (mask * torch.randn_like(mask)).mean()
    names = ["target", "emb", "features", *(name for name, _ in student.named_parameters())]
    return dict(zip(names, torch.autograd.grad(loss, (*given, *student.parameters())), strict=True))


def without_kink(x, slope, inplace=False):
    """The network moves positive factors through its activation, so a replacement must be linear."""
    return 0.7 * x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_literal_loop_in_values_gradients_and_statistics(dtype, size, training, monkeypatch):
    student = small_student(dtype).train(training)
    other, given = copy.deepcopy(student), inputs(size=size, dtype=dtype)
    image, mask = student(given[0], IdentityFeatures(*given[1:]))[:2]
    expected_image, expected_mask = literal(other, *given)
    value, slope = TOLERANCE[dtype]
    torch.testing.assert_close(image, expected_image, atol=value, rtol=0, check_stride=False)
    torch.testing.assert_close(mask, expected_mask, atol=value, rtol=0, check_stride=False)
    for (name, a), b in zip(student.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, atol=value, rtol=value, msg=name)
    if dtype == torch.float32:  # rounding alone may push a map over the kink, where its gradient jumps
        monkeypatch.setattr(F, "leaky_relu", without_kink)
        image, mask = student(given[0], IdentityFeatures(*given[1:]))[:2]
        expected_image, expected_mask = literal(other, *given)
    got, expected = gradients(student, given, image, mask), gradients(other, given, expected_image, expected_mask)
    floor = slope * max(g.norm() for g in expected.values())
    wrong = [k for k in got if (got[k] - expected[k]).norm() > slope * expected[k].norm() + 0.01 * floor]
    assert wrong == []


def test_the_gradient_stops_at_the_fusion_module():
    student, (target, emb, features) = small_student(), inputs()
    mask = student(target, IdentityFeatures(emb, features)).mask
    used = torch.autograd.grad(mask.sum(), (target, emb, features), allow_unused=True)
    assert used == (None, None, None)


@pytest.mark.parametrize("size", [64, 96, 160])
def test_outputs_have_the_size_and_range_of_the_target(size):
    target, emb, features = inputs(2, size)
    image, mask = small_student()(target, IdentityFeatures(emb, features))[:2]
    assert image.shape == (2, 3, size, size)
    assert mask.shape == (2, 1, size, size)
    assert image.min() >= 0 and image.max() <= 1
    assert mask.min() >= 0 and mask.max() <= 1


def test_the_image_fuses_generated_face_and_target_by_the_mask():
    student, given = small_student(), inputs()
    nn.init.constant_(student.idn.fusion.last.bias, -100)
    torch.testing.assert_close(student(given[0], IdentityFeatures(*given[1:])).image, given[0], check_stride=False)


@pytest.mark.parametrize("size", [112, 0, 16])
def test_other_sizes_are_refused_with_their_number(size):
    target, emb, features = inputs(2, 64)
    with raises(UserError, f"{size} x {size} px", "32"):
        small_student()(target.new_zeros(2, 3, size, size), IdentityFeatures(emb, features))


def test_a_target_that_is_no_rgb_batch_is_refused():
    _, emb, features = inputs(2, 64)
    with raises(ValueError, "target", "(2, 1, 64, 64)"):
        small_student()(torch.zeros(2, 1, 64, 64), IdentityFeatures(emb, features))


def test_weights_of_another_batch_are_refused():
    student, (target, emb, features) = small_student(), inputs(3, 64)
    weights = student.inject(emb[:2], features[:2])
    with raises(ValueError, "3 targets", "2 identities"):
        student.swap(target, weights)
