"""Detail, sharpness and features: against SciPy, and against swaps that would fool them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, minimum_filter
from torch import Tensor

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.metrics.detail import detail_correlation, feature_discs, high_pass, inset, sharpness_ratio
from idn.metrics.images import psnr, swap_gain
from idn.types import SwapBatch

SIZE = 96
Metric = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def batch() -> SwapBatch:
    return ProceduralSwaps(FaceRenderer(), SIZE, 12, 5, 0.0)[3]


def blurred(images: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


def pasted(images: Tensor, batch: SwapBatch) -> Tensor:
    """Into the target, along a hard edge."""
    return torch.where(batch.face > 0.5, images, batch.target)


def seamed(images: Tensor, batch: SwapBatch) -> Tensor:
    """With a dark line, a pixel wide, along the edge of the face."""
    inside = (batch.face > 0.5).float()
    return images * (1 - inside * F.max_pool2d(1 - inside, 3, 1, 1))


def reference(swap: Tensor, answer: Tensor, face: Tensor) -> tuple[float, float]:
    """Correlation and ratio of one sample by NumPy and SciPy, in double precision."""
    grey = [np.tensordot([0.299, 0.587, 0.114], x.numpy().astype(float), 1) for x in (swap, answer)]
    a, b = (x - gaussian_filter(x, 2 * SIZE / 96, mode="mirror") for x in grey)
    weights = minimum_filter(face[0].numpy().astype(float), 7, mode="constant", cval=1).ravel()
    a, b = a.ravel(), b.ravel()
    covariance = np.cov(a, b, aweights=weights)
    ratio = np.sqrt(np.average(a**2, weights=weights) / np.average(b**2, weights=weights))
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), ratio


def test_correlation_and_ratio_are_those_of_scipy(batch: SwapBatch) -> None:
    swap = 0.5 * blurred(batch.truth, 1) + 0.5 * batch.target
    expected = torch.tensor([reference(*one) for one in zip(swap, batch.truth, batch.face, strict=True)]).T
    torch.testing.assert_close(
        detail_correlation(swap, batch.truth, batch.face).double(), expected[0], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(sharpness_ratio(swap, batch.truth, batch.face).double(), expected[1], atol=1e-4, rtol=0)


def test_the_same_picture_in_another_size_has_the_same_detail(batch: SwapBatch) -> None:
    small = [blurred(x, 3) for x in (batch.target, batch.truth)]
    large = [F.interpolate(x, scale_factor=2, mode="bicubic") for x in small]
    face = F.interpolate(batch.face, scale_factor=2)
    for metric in (detail_correlation, sharpness_ratio):
        torch.testing.assert_close(metric(*large, face), metric(*small, batch.face), atol=0.02, rtol=0)


def test_only_the_exact_swap_has_its_detail(batch: SwapBatch) -> None:
    """Correlation and ratio of each, best first, as measured: a change of the definition shows."""
    far, noise = blurred(batch.truth, 4), torch.randn(batch.truth.shape, generator=torch.Generator().manual_seed(0))
    swaps = {
        "truth": (batch.truth, 1.0, 1.0),
        "truth at half its contrast": (0.5 + 0.5 * (batch.truth - 0.5), 1.0, 0.5),
        "truth blurred by 1 px": (blurred(batch.truth, 1), 0.86, 0.57),
        "by 2 px": (blurred(batch.truth, 2), 0.59, 0.31),
        "by 4 px": (far, 0.28, 0.13),
        "by 4 px, pasted along a hard edge": (pasted(far, batch), 0.27, 0.15),
        "target": (batch.target, 0.23, 1.01),
        "by 4 px, with a dark seam": (seamed(far, batch), 0.17, 0.34),
        "by 4 px, with smears": (far + 0.3 * blurred(noise, 1), 0.06, 0.88),
        "somebody else, elsewhere": (batch.truth.roll(1, 0), 0.02, 1.21),
        "no detail": (torch.full_like(batch.truth, 0.5), 0.0, 0.0),
    }
    found = {}
    for name, (swap, correlation, ratio) in swaps.items():
        found[name] = float(detail_correlation(swap, batch.truth, batch.face).mean())
        assert found[name] == pytest.approx(correlation, abs=0.02), name
        assert float(sharpness_ratio(swap, batch.truth, batch.face).mean()) == pytest.approx(ratio, abs=0.02), name
    ranks = list(found.values())[1:]
    assert ranks == sorted(ranks, reverse=True)


def test_detail_counts_where_no_blur_sees_beyond_the_face(batch: SwapBatch) -> None:
    lit = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    around = batch.truth.where(F.max_pool2d(batch.face, 3, 1, 1) > 0, lit.repeat(4, 1, 1, 1))
    assert float(detail_correlation(around, batch.truth, batch.face).min()) > 0.8, "noise right up to the face"
    assert torch.equal(inset(torch.ones(1, 1, 96, 96)), torch.ones(1, 1, 96, 96)), "a crop's border is no outline"
    square = torch.zeros(1, 1, 96, 96)
    square[..., 20:40, 30:60] = 1
    wanted = torch.zeros_like(square)
    wanted[..., 23:37, 33:57] = 1
    assert torch.equal(inset(square), wanted)


@pytest.mark.parametrize("metric", [detail_correlation, sharpness_ratio])
def test_samples_without_a_face_or_without_an_answer_are_unknown(metric: Metric, batch: SwapBatch) -> None:
    face, answer = batch.face.clone(), batch.truth.clone()
    face[1], answer[2] = 0, 0.5
    values = metric(batch.target, answer, face)
    assert values.isnan().nonzero().flatten().tolist() == [1, 2]
    alone = torch.cat([metric(*(x[i : i + 1] for x in (batch.target, answer, face))) for i in range(len(face))])
    torch.testing.assert_close(values, alone, equal_nan=True)


def test_a_picture_without_detail_has_no_high_pass() -> None:
    ramp = torch.linspace(0, 1, SIZE).expand(1, 3, SIZE, SIZE)
    assert float(high_pass(ramp)[..., 8:-8].abs().max()) < 1e-6


def test_discs_lie_around_eyes_and_mouth() -> None:
    points = torch.tensor([[[0.375, 0.4], [0.625, 0.4], [0.5, 0.5], [0.4, 0.65], [0.6, 0.65]]])
    discs = feature_discs(points, 200)[0, 0]
    assert discs.unique().tolist() == [0, 1]
    for x, y in ((0.375, 0.4), (0.625, 0.4), (0.5, 0.65)):
        column, row = int(x * 200), int(y * 200)
        assert discs[row, column] == discs[row + 19, column] == 1 and discs[row + 21, column] == 0
    assert float(discs.mean()) == pytest.approx(3 * math.pi * 0.1**2, abs=1e-3)
    turned = points * torch.tensor([0.5, 1.0])
    assert float(feature_discs(turned, 200).amax(3).sum()) == float(discs.amax(1).sum()), "as high on a turned head"
    assert not feature_discs(torch.full((2, 5, 2), math.nan), 32).any()


def test_drawn_eyes_and_mouths_lie_in_their_discs(batch: SwapBatch) -> None:
    """They hold most of a face's detail, and so must the discs."""
    discs = feature_discs(batch.landmarks, SIZE) * batch.face
    assert (discs.sum((1, 2, 3)) > 0.15 * batch.face.sum((1, 2, 3))).all()
    detail = high_pass(batch.truth).square()
    inside, outside = ((detail * part).sum() / part.sum() for part in (discs, (1 - discs) * inset(batch.face)))
    assert float(inside) > 3 * float(outside)


def test_cheeks_do_not_gain_for_eyes_and_mouth(batch: SwapBatch) -> None:
    discs = feature_discs(batch.landmarks, SIZE) * batch.face
    swaps = (batch.truth, blurred(batch.truth, 1), blurred(batch.truth, 2), batch.truth.lerp(batch.target, discs))
    gains = [float(swap_gain(swap, batch.target, batch.truth, discs).mean()) for swap in swaps]
    assert gains == sorted(gains, reverse=True) and gains[2] > 5 and gains[3] == pytest.approx(0, abs=0.05)
    assert float((psnr(swaps[3], batch.truth, batch.face) - psnr(batch.target, batch.truth, batch.face)).mean()) > 1
