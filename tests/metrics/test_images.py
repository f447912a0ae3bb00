import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from idn.metrics.identity import identity_cosine
from idn.metrics.images import PSNR_CAP, absolute_error, psnr, ssim, swap_gain
from tests.raising import raises


def pictures(n: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_psnr_of_known_differences():
    a = torch.zeros(3, 3, 8, 8)
    b = torch.stack([torch.full((3, 8, 8), d) for d in (1.0, 0.1, 0.5)])
    torch.testing.assert_close(psnr(a, b), torch.tensor([0.0, 20.0, -20 * math.log10(0.5)]))


def test_psnr_of_equal_images_is_the_cap():
    a = pictures()
    assert psnr(a, a).tolist() == [PSNR_CAP] * 3


def test_psnr_counts_pixels_by_their_weight():
    a, b = pictures(2), pictures(4)[2:]
    mask = torch.rand(2, 1, 32, 32)
    for i in range(2):
        error = sum(float((mask[i, 0] * (a[i, c] - b[i, c]) ** 2).sum()) for c in range(3)) / float(3 * mask[i].sum())
        assert float(psnr(a, b, mask)[i]) == pytest.approx(10 * math.log10(1 / error), abs=1e-3)


def test_psnr_ignores_what_the_mask_hides():
    a = pictures()
    b = a.clone()
    b[..., :16] = 0
    mask = torch.zeros(3, 1, 32, 32)
    mask[..., 16:] = 1
    assert psnr(a, b, mask).tolist() == [PSNR_CAP] * 3
    assert (psnr(a, b, 1 - mask) < psnr(a, b)).all()


def test_an_empty_mask_gives_nan():
    a = pictures()
    mask = torch.ones(3, 1, 32, 32)
    mask[1] = 0
    assert psnr(a, a * 0.5, mask).isnan().tolist() == [False, True, False]
    assert ssim(a, a * 0.5, mask).isnan().tolist() == [False, True, False]


def test_ssim_is_one_for_equal_images_and_near_zero_for_noise():
    a, b = pictures(), pictures(6)[3:]
    torch.testing.assert_close(ssim(a, a), torch.ones(3))
    assert (ssim(a, b).abs() < 0.2).all()


def test_ssim_of_flat_images_is_its_luminance_term():
    a, b = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    expected = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-3)


def test_ssim_is_that_of_torchmetrics_and_without_the_border_that_of_scikit_image():
    similarity = pytest.importorskip("skimage.metrics", reason="needs scikit-image").structural_similarity
    a = pictures()
    b = (a + 0.2 * pictures(6)[3:]).clamp(0, 1)
    wanted = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(a, b), wanted, atol=1e-5, rtol=0)
    inner = torch.zeros(3, 1, 32, 32)
    inner[..., 5:-5, 5:-5] = 1
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(a.double().numpy(), b.double().numpy(), strict=True)
    plain = [similarity(x, y, data_range=1, channel_axis=0, **gaussian) for x, y in pairs]
    assert ssim(a, b, inner).tolist() == pytest.approx(plain, abs=1e-5)


def test_masked_ssim_is_the_plain_one_under_a_full_mask_and_one_where_nothing_changed():
    a = pictures()
    b = a.clone()
    b[..., :12] = 0.5
    torch.testing.assert_close(ssim(a, b, torch.ones(3, 1, 32, 32)), ssim(a, b))
    right = torch.zeros(3, 1, 32, 32)
    right[..., 12 + 6 :] = 1
    torch.testing.assert_close(ssim(a, b, right), torch.ones(3))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_samples_do_not_see_each_other(metric):
    a, b = pictures(), pictures(6)[3:]
    alone = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(metric(a, b), alone)


def test_identity_cosine():
    a = torch.tensor([[2.0, 0.0], [1.0, 1.0], [3.0, 0.0]])
    b = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    torch.testing.assert_close(identity_cosine(a, b), torch.tensor([1.0, math.sqrt(0.5), -1.0]))


def test_swap_gain_of_a_copy_of_a_perfect_and_of_a_halfway_student():
    target, truth = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.4)
    mask = torch.ones(1, 1, 8, 8)
    assert float(swap_gain(target, target, truth, mask)) == 0
    assert float(swap_gain(truth, target, truth, mask)) == pytest.approx(PSNR_CAP + 20 * math.log10(0.4), abs=1e-3)
    assert float(swap_gain(truth / 2, target, truth, mask)) == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_shapes_must_agree():
    a = pictures()
    for call, named in (
        (lambda: psnr(a, a[:, :1]), ["(3, 3, 32, 32)", "(3, 1, 32, 32)"]),
        (lambda: ssim(a, a[:1]), ["(3, 3, 32, 32)", "(1, 3, 32, 32)"]),
        (lambda: absolute_error(a, a[..., :1]), ["(3, 3, 32, 32)", "(3, 3, 32, 1)"]),
        (lambda: psnr(a, a, torch.ones(3, 3, 32, 32)), ["mask", "(3, 1, 32, 32)", "(3, 3, 32, 32)"]),
        (lambda: identity_cosine(torch.ones(2, 3), torch.ones(2, 4)), ["(2, 3)", "(2, 4)"]),
    ):
        with raises(ValueError, *named):
            call()
