import pytest
import torch
import torch.nn.functional as F

from idn.errors import OptionError
from idn.students.mobilefaceswap.injection import WeightModulation
from idn.students.mobilefaceswap.layout import Layout
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription
from tests.raising import raises


def test_layout_is_the_published_one_at_width_1():
    layout = Layout.of(1.0)
    assert layout.pairs == (
        *[(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)],
        *[(512, 256), (512, 128), (256, 64), (128, 32)],
    )
    assert layout.fusion == (512, 128, 64, 32, 8, 2)
    assert layout.head == 8


@pytest.mark.parametrize("width", [0.25, 0.3, 0.5, 0.77, 1.5, 2.0])
def test_channels_are_multiples_of_eight_and_pairs_connect(width):
    layout = Layout.of(width)
    assert all(c % 8 == 0 for c in (*layout.encoder[1:], *layout.decoder, *layout.fusion[:-1], layout.head))
    assert layout.encoder[0] == 3
    assert layout.decoder_in[1:] == tuple(layout.decoder[i] + layout.encoder[4 - i] for i in range(3))


@pytest.mark.parametrize("width", [0, 0.2, 2.1, -1])
def test_other_widths_are_refused(width):
    with raises(OptionError, argument="width", value=width):
        Student(EncoderDescription(16, 16), width=width)


def test_a_new_student_modulates_nothing_by_the_embedding():
    student = Student(EncoderDescription(16, 24), width=0.25).eval()
    a, b = (student.inject(F.normalize(torch.randn(2, 16)), torch.randn(2, 24, 7, 7)) for _ in range(2))
    for one, other in zip((*a.scale, *a.demodulation), (*b.scale, *b.demodulation), strict=True):
        assert torch.equal(one, other)
    assert all((scale == 1).all() for scale in a.scale)
    assert not torch.equal(a.depthwise[0], b.depthwise[0])


def test_modulated_rows_have_unit_norm_and_follow_the_embedding():
    module = WeightModulation(16, 8, 4)
    torch.nn.init.normal_(module.weight)
    emb = torch.randn(3, 16)
    scale, demodulation = module(emb)
    kernel = module.weight * scale[:, None, :] * demodulation[:, :, None]
    torch.testing.assert_close(kernel.square().sum(-1), torch.ones(3, 4))
    expected = module.weight * (1 + module.gain(emb))[:, None, :]
    torch.testing.assert_close(kernel, expected / expected.norm(dim=-1, keepdim=True))
    assert (demodulation > 0).all()


def test_modulation_keeps_full_precision_under_autocast():
    module = WeightModulation(16, 8, 4)
    torch.nn.init.normal_(module.weight)
    emb = torch.randn(3, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = module(emb)
    for a, b in zip(inside, module(emb), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("size", [5, 7, 10])
def test_kernels_have_the_sizes_of_the_pairs_for_any_feature_size(size):
    weights = Student(EncoderDescription(16, 24, size), width=0.25).inject(
        torch.randn(2, 16), torch.randn(2, 24, size, size)
    )
    pairs = Layout.of(0.25).pairs
    for i, (c_in, c_out) in enumerate(pairs):
        k = 4 if i < 5 else 3
        assert weights.depthwise[i].shape == (2, c_in, k, k)
        assert weights.pointwise[i].shape == (c_out, c_in)
        assert weights.scale[i].shape == (2, c_in)
        assert weights.demodulation[i].shape == (2, c_out)


def test_feature_maps_too_small_for_a_kernel_are_refused():
    with raises(OptionError, argument="feature_size", value=3):
        Student(EncoderDescription(16, 24, 3), width=0.25)


@pytest.mark.parametrize(
    ("emb", "features"),
    [((2, 15), (2, 24, 7, 7)), ((2, 16), (2, 24, 8, 8)), ((2, 16), (1, 24, 7, 7)), ((16,), (24, 7, 7))],
)
def test_identities_of_another_encoder_are_refused(emb, features):
    with raises(ValueError, "identity", str(emb), str(features)):
        Student(EncoderDescription(16, 24), width=0.25).inject(torch.randn(emb), torch.randn(features))
