"""Every metric of a pair against scikit-image, scipy or a hand-computed case, and what it does on degenerate input."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from idn.evaluation.metrics import METRICS, Better, Seen, goodness, measured, metric_named
from idn.evaluation.recogniser import Answer
from idn.types import SwapBatch

SIZE = 64
skimage = pytest.importorskip("skimage.metrics", reason="needs scikit-image")


def picture(seed: int, n: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 8, 8, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)
    return (smooth + 0.1 * torch.rand(n, 3, SIZE, SIZE, generator=draw)).clamp(0, 1)


def batch(truth: bool = True) -> SwapBatch:
    face = torch.zeros(2, 1, SIZE, SIZE)
    face[..., 16:48, 16:48] = 1
    points = torch.tensor([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.62], [0.58, 0.62]]).expand(2, 5, 2)
    known = picture(2) if truth else None
    return SwapBatch(picture(0), picture(1), face, torch.zeros(2, dtype=torch.bool), known, landmarks=points)


def seen(image: torch.Tensor, truth: bool = True, **more) -> Seen:
    return Seen(image, batch(truth), Answer(torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.3]), torch.ones(2)), **more)


def values(image: torch.Tensor, truth: bool = True, **more) -> dict[str, list[float]]:
    rows = measured(seen(image, truth, **more), [None, None])
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_background_is_that_of_scikit_image_outside_the_face() -> None:
    image, target = picture(3), batch().target
    for row in range(2):
        a, b = (x[row].permute(1, 2, 0).numpy() for x in (image, target))
        outside = batch().face[row, 0].numpy() == 0
        wanted = skimage.peak_signal_noise_ratio(b[outside], a[outside], data_range=1)
        assert values(image)["psnr_background"][row] == pytest.approx(wanted, abs=1e-3)
        _, full = skimage.structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        inside = np.zeros_like(outside)
        inside[5:-5, 5:-5] = True  # at the borders the two continue pictures in different ways
        kept = torch.from_numpy(~outside | ~inside)
        face = torch.where(kept, 1.0, batch().face[row : row + 1])
        one = Seen(image[row : row + 1], batch().take(slice(row, row + 1))._replace(face=face), seen(image).who)
        assert metric_named("ssim_background").measure(one)[0] == pytest.approx(full[~kept.numpy()].mean(), abs=2e-3)


def test_sharpness_is_the_energy_that_a_gaussian_of_scipy_takes_away() -> None:
    image, truth = picture(3), batch().truth
    sigma, weights = 2 / 96 * SIZE, np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    inner = slice(18, 46)
    fine = []
    for pixels in (image[0], truth[0]):
        grey = (pixels.double().numpy() * weights).sum(0)
        fine.append((grey - gaussian_filter(grey, sigma, truncate=4))[inner, inner])
    assert values(image)["sharpness_ratio"][0] == pytest.approx(fine[0].std() / fine[1].std(), rel=0.02)
    assert values(image)["detail_correlation"][0] == pytest.approx(np.corrcoef(*map(np.ravel, fine))[0, 1], abs=0.02)


def test_swap_gain_is_0_for_a_copy_and_positive_for_half_the_way() -> None:
    known = batch()
    assert values(known.target)["swap_gain"] == [0, 0]
    half = (known.target + known.truth) / 2
    assert values(half)["swap_gain"] == pytest.approx([20 * math.log10(2)] * 2, abs=1e-3)
    assert values(half)["feature_gain"] == pytest.approx([20 * math.log10(2)] * 2, abs=1e-3)


def test_a_perfect_swap_is_at_the_end_of_every_metric() -> None:
    found = values(batch().truth)
    assert found["psnr_truth"] == [100, 100] and found["ssim_truth"] == pytest.approx([1, 1], abs=1e-5)
    assert found["detail_correlation"] == pytest.approx([1, 1]) and found["sharpness_ratio"] == pytest.approx([1, 1])


def test_without_an_exact_swap_the_first_teacher_says_what_is_right() -> None:
    image, answer = picture(3), picture(4)
    alone, beside = values(image, truth=False), values(image, truth=False, answer=answer)
    assert not {"swap_gain", "psnr_truth", "detail_correlation", "psnr_teacher"} & alone.keys()
    assert {"detail_correlation", "feature_gain", "psnr_teacher", "ssim_teacher"} <= beside.keys()
    wanted = skimage.peak_signal_noise_ratio(answer[0].numpy(), image[0].numpy(), data_range=1)
    assert beside["psnr_teacher"][0] == pytest.approx(wanted, abs=1e-3)


def test_nothing_is_measured_where_there_is_a_problem() -> None:
    rows = measured(seen(picture(3)), ["no result", None])
    assert rows[0] == {} and rows[1]["identity"] == pytest.approx(0.1)


def test_no_metric_breaks_where_nothing_can_be_seen() -> None:
    nothing, points = torch.full((2, 3, SIZE, SIZE), 0.5), torch.full((2, 68, 2), float("nan"))
    empty = batch()._replace(target=nothing, truth=nothing, face=torch.zeros(2, 1, SIZE, SIZE))
    who = Answer(torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.3]), torch.ones(2))
    for shown in (nothing, picture(3)):
        rows = measured(Seen(shown, empty, who, nothing, points, points), [None, None])
        assert not {"pose_error", "expression_error", "gaze_error", "detail_correlation"} & {*rows[0], *rows[1]}
        assert all(math.isfinite(value) for row in rows for value in row.values())
        one = Seen(shown[:1], empty.take(slice(0, 1)), Answer(*(part[:1] for part in who[:3])), nothing[:1])
        assert measured(one, [None])[0].keys() == rows[0].keys(), "one picture is as good as two"


def test_a_face_that_fills_the_crop_has_no_background() -> None:
    known = batch()._replace(face=torch.ones(2, 1, SIZE, SIZE))
    rows = measured(seen(picture(3))._replace(batch=known), [None, None])
    assert "psnr_background" not in rows[0] and "identity" in rows[0]


@pytest.mark.parametrize(("better", "best", "worse"), [("higher", 2, 1), ("lower", 1, 2), ("one", 1.1, 0.5)])
def test_goodness_follows_the_direction(better: Better, best: float, worse: float) -> None:
    metric = METRICS[0]._replace(better=better)
    assert goodness(metric, best) > goodness(metric, worse)


def test_every_metric_says_what_it_means_in_which_unit() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.meaning and metric.unit for metric in METRICS)
