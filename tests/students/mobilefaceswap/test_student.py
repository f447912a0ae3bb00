import pytest
import torch
import torch.nn.functional as F
from torch import nn

from idn.students.count import conv_macs, conv_weights, parameters
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription, IdentityFeatures
from tests.raising import raises

EMB, CHANNELS = 16, 24


def small_student(seed=0, width=0.25) -> Student:
    torch.manual_seed(seed)
    return Student(EncoderDescription(EMB, CHANNELS), width=width)


def inputs(n=2, size=64, emb=EMB, channels=CHANNELS, feature_size=7):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.rand(n, 3, size, size, generator=generator),
        F.normalize(torch.randn(n, emb, generator=generator)),
        torch.randn(n, channels, feature_size, feature_size, generator=generator),
    )


def unsettle(student: Student, size: int = 64) -> Student:
    """Give gains and BatchNorms values that a trained student could have: statistics of its own maps, then noise."""
    emb, channels, features = student.encoder[:3]
    for module in student.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.5)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.weight.data *= torch.empty_like(module.weight).uniform_(0.5, 1.5)
            module.bias.data += 0.3 * torch.randn_like(module.bias)
    target, embedding, maps = inputs(3, size, emb, channels, features)
    student.train()(target, IdentityFeatures(embedding, maps))
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.3 * module.running_var.sqrt() * torch.randn_like(module.running_mean)
            module.running_var *= torch.empty_like(module.running_var).uniform_(0.5, 2)
    return student


def test_published_counts():
    student = Student(EncoderDescription(512, 512))
    assert parameters(student) == 20_699_710
    assert parameters(student.injection.prediction) == 19_253_565
    assert parameters(student.injection.modulation) == 421_955 + 939_392
    target, emb, features = inputs(1, 224, 512, 512)
    static = student.bake(emb, features)
    assert conv_weights(static) == 494_979
    assert conv_weights(static.fusion) == 82_762
    assert conv_macs(static, target) == 305_722_368
    gains = sum(module.gain.weight.numel() for module in student.injection.modulation)
    assert conv_macs(student.injection, emb, features) + gains == 219_971_856


def test_only_the_first_layers_follow_the_identity_encoder():
    arcface, mobile = (Student(EncoderDescription(*sizes), width=0.25) for sizes in ((512, 512), (128, 320)))
    shapes = [{k: v.shape for k, v in s.state_dict().items()} for s in (arcface, mobile)]
    different = {k for k in shapes[0] if shapes[0][k] != shapes[1][k]}
    gains = {f"injection.modulation.{i}.gain.weight" for i in range(9)}
    assert different == gains | {"injection.prediction.stem.weight"}
    assert shapes[0].keys() == shapes[1].keys()


@pytest.mark.parametrize("width", [0.25, 0.5, pytest.param(2, marks=pytest.mark.slow)])
def test_widths_scale_the_network_and_run_with_mobilefacenet_sizes(width):
    torch.manual_seed(0)
    student = Student(EncoderDescription(128, 512), width=width).eval()
    target, emb, features = inputs(1, 32, 128, 512)
    static = student.bake(emb, features)
    ratio = conv_weights(static) / 494_979
    assert ratio == pytest.approx(width**2, rel=0.35)
    assert static(target)[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("size", [64, pytest.param(224, marks=pytest.mark.slow)])
def test_baked_equals_dynamic(size, dtype, tolerance):
    torch.manual_seed(0)
    student = unsettle(Student(EncoderDescription(128, 512)), size).eval().to(dtype)
    target, emb, features = (x.to(dtype) for x in inputs(1, size, 128, 512))
    image, mask = student.bake(emb, features)(target)
    expected = student(target, IdentityFeatures(emb, features))
    assert (expected.image - target).std() > 0.02
    assert expected.mask.std() > 0.01
    torch.testing.assert_close(image, expected.image, atol=tolerance, rtol=0, check_stride=False)
    torch.testing.assert_close(mask, expected.mask, atol=tolerance, rtol=0, check_stride=False)


def test_baking_leaves_a_training_student_alone_and_shares_nothing_with_it():
    student = unsettle(small_student()).train()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    target, emb, features = inputs(1)
    static = student.bake(emb, features)
    assert all(module.training for module in student.modules())
    assert not any(module.training for module in static.modules())
    kept = [p.clone() for p in static.parameters()]
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(kept, static.parameters(), strict=True))
    assert not any(isinstance(m, nn.BatchNorm2d | nn.Linear) for m in static.modules())
    assert static(target.repeat(3, 1, 1, 1))[0].shape == (3, 3, 64, 64)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_baked_network_traces_and_exports():
    target, emb, features = inputs(1)
    static = small_student().bake(emb, features)
    expected = static(target)[0]
    torch.testing.assert_close(torch.jit.trace(static, target)(target)[0], expected)
    exported = torch.export.export(static, (target,)).module()
    torch.testing.assert_close(exported(target)[0], expected)


def test_baking_two_identities_is_refused():
    _, emb, features = inputs(2)
    with raises(ValueError, "2"):
        small_student().bake(emb, features)


def test_every_parameter_of_a_new_student_gets_a_gradient():
    student, given = small_student().train(), inputs(3)
    image, mask = student(given[0], IdentityFeatures(*given[1:]))[:2]
    ((image * torch.randn_like(image)).mean() + (mask * torch.randn_like(mask)).mean()).backward()
    assert [name for name, p in student.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_few_steps_reduce_a_loss():
    student, (target, emb, features) = small_student(), inputs(4)
    wanted = target.flip(0)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        image, mask = student(target, IdentityFeatures(emb, features))[:2]
        loss = (image - wanted).abs().mean() + 0.1 * (1 - mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_autocast_gives_close_images_in_full_precision():
    student, given = unsettle(small_student()).eval(), inputs()
    exact = student(given[0], IdentityFeatures(*given[1:])).image
    with torch.autocast("cpu", torch.bfloat16):
        image, mask = student(given[0], IdentityFeatures(*given[1:]))[:2]
        image.mean().backward()
    assert image.dtype == mask.dtype == torch.float32
    assert 0 < (image - exact).abs().mean() < 0.02


def test_compiles_in_place_without_graph_breaks():
    student, given = unsettle(small_student()).eval(), inputs()
    expected, keys = student(given[0], IdentityFeatures(*given[1:])).image, list(student.state_dict())
    student.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(
        student(given[0], IdentityFeatures(*given[1:])).image, expected, atol=1e-5, rtol=0, check_stride=False
    )
    assert list(student.state_dict()) == keys


def test_maps_of_an_encoder_that_works_channels_last_do_not_make_the_weights_be_copied():
    student, (_, emb, features) = small_student(), inputs()
    strides = []
    student.injection.register_forward_hook(lambda _, given, out: strides.append(given[1].is_contiguous()))
    given = features.contiguous(memory_format=torch.channels_last)
    assert not given.is_contiguous()
    torch.testing.assert_close(student.inject(emb, given).depthwise, student.inject(emb, features).depthwise)
    assert strides == [True, True]
