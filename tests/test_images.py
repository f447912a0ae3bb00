import pytest
import torch

from idn import images


def test_ranges_round_trip() -> None:
    x = torch.rand(2, 3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(images.to_01(images.to_pm1(x)), x)
    assert images.to_pm1(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]


def test_bytes_round_trip_exactly() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(images.to_uint8(images.from_uint8(every)), every)
    assert images.from_uint8(every).amax() == 1.0


def test_to_uint8_rounds_and_clamps() -> None:
    x = torch.tensor([-0.3, 0.4 / 255, 0.6 / 255, 1.7], requires_grad=True)
    assert images.to_uint8(x).tolist() == [0, 0, 1, 255]


def test_normalize_maps_mean_to_zero_and_std_to_one() -> None:
    mean, std = torch.tensor(images.IMAGENET_MEAN), torch.tensor(images.IMAGENET_STD)
    x = torch.stack([mean, mean + std]).view(2, 3, 1, 1)
    torch.testing.assert_close(images.normalize(x)[:, :, 0, 0], torch.tensor([[0.0] * 3, [1.0] * 3]))
    half = images.normalize(x, (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(half, images.to_pm1(x))


def test_denormalize_undoes_normalize() -> None:
    x, mean, std = torch.rand(2, 3, 4, 5, dtype=torch.float64), (0.1, 0.2, 0.3), (0.5, 2.0, 4.0)
    torch.testing.assert_close(images.denormalize(images.normalize(x, mean, std), mean, std), x)
    ones = images.denormalize(torch.ones(1, 3, 1, 1), mean, std)
    torch.testing.assert_close(ones.flatten(), torch.tensor([0.6, 2.2, 4.3]))


def test_bgr_bytes_are_swapped_and_scaled() -> None:
    x = torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(images.to_bgr255(x).flatten(), torch.tensor([255.0, 51.0, 0.0]))


def test_resize_leaves_equal_sizes_alone() -> None:
    x = torch.rand(1, 3, 8, 8)
    assert images.resize(x, 8) is x and images.resize(x, (8, 8)) is x


def test_resize_to_a_shape_averages_along_the_side_that_shrinks_and_keeps_bytes() -> None:
    x = torch.zeros(1, 3, 32, 8, dtype=torch.uint8)
    x[:, :, ::2] = 200
    out = images.resize(x, (4, 8))
    assert out.shape == (1, 3, 4, 8) and out.dtype == torch.uint8
    assert (out.int() - 100).abs().max() < 15


@pytest.mark.parametrize("size", [4, 16, 32])
def test_resize_keeps_constants(size: int) -> None:
    x = torch.full((1, 2, 16, 12), 0.3)
    out = images.resize(x, size)
    assert out.shape == (1, 2, size, size)
    torch.testing.assert_close(out, torch.full_like(out, 0.3))


def test_resize_averages_when_shrinking() -> None:
    x = torch.zeros(1, 1, 64, 64)
    x[..., ::2] = 1
    assert (images.resize(x, 8) - 0.5).abs().max() < 0.05


def test_luma_of_primaries() -> None:
    grey = images.luma(torch.eye(3).view(3, 3, 1, 1))
    torch.testing.assert_close(grey.flatten(), torch.tensor([0.299, 0.587, 0.114]))
    assert images.luma(torch.ones(1, 3, 2, 2)).sub(1).abs().max() < 1e-6
