"""Metrics of an evaluation, each with its name, meaning, unit and better direction."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from idn.evaluation.landmarks import expression_error, pose_error
from idn.evaluation.recogniser import Answer
from idn.images import luma
from idn.metrics.images import psnr, ssim, swap_gain
from idn.types import SwapBatch

Better = Literal["higher", "lower", "one"]
"""Which way a metric improves; "one" for a ratio that is best at 1."""


class Seen(NamedTuple):
    """What one method made of N pairs, and what is known about it. Nothing is measured where there is a problem."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    batch: SwapBatch
    who: Answer
    """Of `image`, by the recogniser."""
    answer: Tensor | None = None
    """(N, 3, S, S) in [0, 1]: the picture of the first teacher."""
    landmarks: Tensor | None = None
    """(N, 68, 2) of `image`, where they are looked for."""
    target_landmarks: Tensor | None = None
    """(N, 68, 2) of the targets."""


class EvaluationMetric(NamedTuple):
    """A number per pair, or over all pictures of a method."""

    name: str
    meaning: str
    unit: str
    better: Better
    measure: Callable[[Seen], Tensor | None] | None = None
    """(N,) values, None where they cannot be known; None for what is computed of all pictures together."""


def sharpness(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Energy of the finest details of brightness inside the mask, relative to a reference, (N,).

    image, reference: (N, 3, S, S) in [0, 1].
    mask: (N, 1, S, S) in [0, 1].
    Details are what a Gaussian of a hundredth of the side, one pixel at least, takes away.
    """
    return (_energy(image, mask) / _energy(reference, mask).clamp_min(1e-12)).sqrt()


def _energy(image: Tensor, mask: Tensor) -> Tensor:
    grey, sigma = luma(image), max(1.0, image.shape[-1] / 100)
    side = 2 * int(3 * sigma + 0.5) + 1
    fine = grey - gaussian_blur2d(grey, (side, side), (sigma, sigma))
    return (fine.square() * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def _retrieval(seen: Seen) -> Tensor:
    return seen.who.hit


def _identity(seen: Seen) -> Tensor:
    return seen.who.source


def _identity_target(seen: Seen) -> Tensor:
    return seen.who.target


def _pose(seen: Seen) -> Tensor | None:
    return None if seen.landmarks is None else pose_error(seen.landmarks, seen.target_landmarks)


def _expression(seen: Seen) -> Tensor | None:
    return None if seen.landmarks is None else expression_error(seen.landmarks, seen.target_landmarks)


def _psnr_background(seen: Seen) -> Tensor:
    return psnr(seen.image, seen.batch.target, 1 - seen.batch.face)


def _ssim_background(seen: Seen) -> Tensor:
    return ssim(seen.image, seen.batch.target, 1 - seen.batch.face)


def _sharpness(seen: Seen) -> Tensor:
    reference = seen.batch.target if seen.batch.truth is None else seen.batch.truth
    return sharpness(seen.image, reference, seen.batch.face)


def _psnr_teacher(seen: Seen) -> Tensor | None:
    return None if seen.answer is None else psnr(seen.image, seen.answer)


def _ssim_teacher(seen: Seen) -> Tensor | None:
    return None if seen.answer is None else ssim(seen.image, seen.answer)


def _psnr_truth(seen: Seen) -> Tensor | None:
    return None if seen.batch.truth is None else psnr(seen.image, seen.batch.truth, seen.batch.face)


def _ssim_truth(seen: Seen) -> Tensor | None:
    return None if seen.batch.truth is None else ssim(seen.image, seen.batch.truth, seen.batch.face)


def _gain(seen: Seen) -> Tensor | None:
    batch = seen.batch
    return None if batch.truth is None else swap_gain(seen.image, batch.target, batch.truth, batch.face)


METRICS = (
    EvaluationMetric("retrieval", "swaps whose nearest source shows the right person", "share", "higher", _retrieval),
    EvaluationMetric(
        "identity", "similarity to the source, centred by the reference set", "cosine", "higher", _identity
    ),
    EvaluationMetric(
        "identity_target", "similarity to the target, centred likewise", "cosine", "lower", _identity_target
    ),
    EvaluationMetric("pose_error", "turn of the head against the target's, from landmarks", "degrees", "lower", _pose),
    EvaluationMetric(
        "expression_error", "brows, lids and mouth against the target's", "% of eye distance", "lower", _expression
    ),
    EvaluationMetric("psnr_background", "outside the face, to the target", "dB", "higher", _psnr_background),
    EvaluationMetric("ssim_background", "outside the face, to the target", "at most 1", "higher", _ssim_background),
    EvaluationMetric(
        "sharpness", "finest details inside the face, to the exact swap's or the target's", "ratio", "one", _sharpness
    ),
    EvaluationMetric(
        "swap_gain", "closer to the exact swap than the target is, inside the face", "dB", "higher", _gain
    ),
    EvaluationMetric("psnr_truth", "to the exact swap, inside the face", "dB", "higher", _psnr_truth),
    EvaluationMetric("ssim_truth", "to the exact swap, inside the face", "at most 1", "higher", _ssim_truth),
    EvaluationMetric("psnr_teacher", "to the first teacher", "dB", "higher", _psnr_teacher),
    EvaluationMetric("ssim_teacher", "to the first teacher", "at most 1", "higher", _ssim_teacher),
    EvaluationMetric("fid", "Fréchet distance of the swaps' features to those of the targets", "distance", "lower"),
    EvaluationMetric("kid", "kernel distance of the swaps' features to those of the targets", "x 1000", "lower"),
)
"""In the order in which a report shows them."""


def measured(seen: Seen, problems: Sequence[str | None], metrics: Sequence[EvaluationMetric] = METRICS) -> list[dict]:
    """By pair, name -> value of all metrics that can be known of it; none where there is a problem."""
    columns = {m.name: m.measure(seen) for m in metrics if m.measure is not None}
    known = {name: values.tolist() for name, values in columns.items() if values is not None}
    return [
        {} if problem is not None else {name: values[row] for name, values in known.items() if _finite(values[row])}
        for row, problem in enumerate(problems)
    ]


def goodness(metric: EvaluationMetric, value: float) -> float:
    """A number that is higher where the metric is better."""
    if metric.better == "one":
        return -abs(float(torch.log(torch.tensor(max(value, 1e-9)))))
    return value if metric.better == "higher" else -value


def metric_named(name: str) -> EvaluationMetric:
    """The metric of that name. Raises KeyError if there is none."""
    return {metric.name: metric for metric in METRICS}[name]


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
