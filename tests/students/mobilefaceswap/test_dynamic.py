import pytest
import torch
import torch.nn.functional as F

from idn.students.mobilefaceswap import dynamic
from idn.students.mobilefaceswap.dynamic import depthwise, fold, pointwise_per_identity
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from tests.raising import raises


@pytest.mark.parametrize("implementation", ["_depthwise_per_identity", "_depthwise_grouped"])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize(("k", "stride"), [(4, 2), (3, 1)])
def test_depthwise_equals_a_loop_over_samples_and_channels(implementation, k, stride, targets):
    x = torch.randn(3 * targets, 5, 8, 12, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(3, 5, k, k, dtype=torch.float64, requires_grad=True)
    got = getattr(dynamic, implementation)(x, kernels, stride)
    padding = (k - 1) // 2
    rows = [
        [
            F.conv2d(x[n : n + 1, c : c + 1], kernels[n // targets, c][None, None], None, stride, padding)
            for c in range(5)
        ]
        for n in range(3 * targets)
    ]
    expected = torch.cat([torch.cat(row, 1) for row in rows])
    torch.testing.assert_close(got, expected)
    probe = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(got, (x, kernels), probe),
        torch.autograd.grad(expected, (x, kernels), probe),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_depthwise_on_a_cpu_stays_channels_last():
    y = depthwise(torch.randn(2, 8, 6, 6), torch.randn(2, 8, 3, 3), 1)
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(3, 4, 3, 3), (2, 5, 3, 3), (2, 4, 3)])
def test_depthwise_refuses_kernels_of_another_batch(shape):
    with raises(ValueError, "kernels", str(shape)):
        depthwise(torch.randn(2, 4, 6, 6), torch.randn(*shape), 1)


def test_pointwise_per_identity_equals_a_loop_over_samples():
    x, weights, bias = torch.randn(6, 4, 5, 6), torch.randn(3, 2, 4), torch.randn(2)
    expected = torch.cat([F.conv2d(x[n : n + 1], weights[n // 2][:, :, None, None], bias) for n in range(6)])
    torch.testing.assert_close(pointwise_per_identity(x, weights, bias), expected)


def test_fold_multiplies_by_own_scale_and_by_the_demodulation_of_what_is_read():
    """Five encoder and four decoder pairs with constant factors, so that every product can be written down."""
    channels = [1, 2, 2, 2, 2, 2, 4, 4, 4]
    outputs = [2, 2, 2, 2, 2, 2, 2, 2, 2]
    weights = DynamicWeights(
        tuple(torch.ones(1, c, 1, 1) for c in channels),
        tuple(torch.ones(o, c) for c, o in zip(channels, outputs, strict=True)),
        tuple(torch.full((1, c), 100.0 * (i + 1)) for i, c in enumerate(channels)),
        tuple(torch.full((1, o), float(i + 2)) for i, o in enumerate(outputs)),
    )
    got = [kernel.flatten().tolist() for kernel in fold(weights)]
    assert got == [
        [100],
        [200 * 2] * 2,
        [300 * 3] * 2,
        [400 * 4] * 2,
        [500 * 5] * 2,
        [600 * 6] * 2,
        [700 * 7] * 2 + [700 * 5] * 2,
        [800 * 8] * 2 + [800 * 4] * 2,
        [900 * 9] * 2 + [900 * 3] * 2,
    ]
