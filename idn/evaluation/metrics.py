"""Metrics of an evaluation, each with its name, meaning, unit and better direction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from idn.evaluation.gaze import gaze_error
from idn.evaluation.landmarks import expression_error, pose_error
from idn.evaluation.recogniser import Answer
from idn.evaluation.timeline import Past
from idn.metrics.detail import detail_correlation, feature_discs, sharpness_ratio
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
    found: Tensor | None = None
    """(N,) float: 1 where a detector sees a face, where one was asked."""
    past: Past | None = None
    """The frames before, where the pictures are those of videos."""
    lpips: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """Distance of two pictures in a region, where there is a network for it; see `Lpips`."""
    read: Mapping[str, Tensor] | None = None
    """By metric, (N,): distances to the targets of what published networks read; see `FaceNetwork`."""


class EvaluationMetric(NamedTuple):
    """A number per pair, or over all pictures of a method."""

    name: str
    meaning: str
    unit: str
    better: Better
    measure: Callable[[Seen], Tensor | None] | None = None
    """(N,) values, None where they cannot be known; None for what is computed of all pictures together."""


def _right(seen: Seen) -> Tensor | None:
    """(N, 3, S, S): the exact swap, or the first teacher's picture where nobody knows that."""
    return seen.answer if seen.batch.truth is None else seen.batch.truth


def _retrieval(seen: Seen) -> Tensor:
    return seen.who.hit


def _identity(seen: Seen) -> Tensor:
    return seen.who.source


def _identity_target(seen: Seen) -> Tensor:
    return seen.who.target


def _identity_other(seen: Seen) -> Tensor | None:
    return seen.who.other


def _found(seen: Seen) -> Tensor | None:
    return seen.found


def _pose(seen: Seen) -> Tensor | None:
    return None if seen.landmarks is None else pose_error(seen.landmarks, seen.target_landmarks)


def _expression(seen: Seen) -> Tensor | None:
    return None if seen.landmarks is None else expression_error(seen.landmarks, seen.target_landmarks)


def _gaze(seen: Seen) -> Tensor | None:
    if seen.landmarks is None:
        return None
    return gaze_error(seen.image, seen.landmarks, seen.batch.target, seen.target_landmarks)


def _read(name: str) -> Callable[[Seen], Tensor | None]:
    """What a network says of that metric, where there is one."""
    return lambda seen: None if seen.read is None else seen.read.get(name)


def _jitter(seen: Seen) -> Tensor | None:
    return None if seen.past is None else seen.past.jitter(seen.landmarks, seen.target_landmarks)


def _flicker(seen: Seen) -> Tensor | None:
    if seen.past is None:
        return None
    return seen.past.flicker(seen.image, seen.batch.target, seen.target_landmarks, seen.batch.face)


def _psnr_background(seen: Seen) -> Tensor:
    return psnr(seen.image, seen.batch.target, 1 - seen.batch.face)


def _ssim_background(seen: Seen) -> Tensor:
    return ssim(seen.image, seen.batch.target, 1 - seen.batch.face)


def _lpips_background(seen: Seen) -> Tensor | None:
    return None if seen.lpips is None else seen.lpips(seen.image, seen.batch.target, 1 - seen.batch.face)


def _lpips_truth(seen: Seen) -> Tensor | None:
    truth = seen.batch.truth
    return None if seen.lpips is None or truth is None else seen.lpips(seen.image, truth, seen.batch.face)


def _sharpness(seen: Seen) -> Tensor:
    reference = seen.batch.target if seen.batch.truth is None else seen.batch.truth
    return sharpness_ratio(seen.image, reference, seen.batch.face)


def _detail(seen: Seen) -> Tensor | None:
    right = _right(seen)
    return None if right is None else detail_correlation(seen.image, right, seen.batch.face)


def _feature_gain(seen: Seen) -> Tensor | None:
    right, batch = _right(seen), seen.batch
    if right is None or batch.landmarks is None:
        return None
    discs = feature_discs(batch.landmarks, seen.image.shape[-1]) * batch.face
    return swap_gain(seen.image, batch.target, right, discs)


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


_RIGHT = "the exact swap, or the first teacher's picture where nobody knows that"
METRICS = (
    EvaluationMetric("retrieval", "swaps whose nearest source shows the right person", "share", "higher", _retrieval),
    EvaluationMetric(
        "identity", "similarity to the source, centred on the reference set", "cosine", "higher", _identity
    ),
    EvaluationMetric(
        "identity_target", "similarity to the target, centred likewise", "cosine", "lower", _identity_target
    ),
    EvaluationMetric(
        "identity_other",
        "similarity to other pictures of the source's person, which a paste of the source does not raise",
        "cosine",
        "higher",
        _identity_other,
    ),
    EvaluationMetric("face_found", "swaps in which the detector sees a face", "share", "higher", _found),
    EvaluationMetric("pose_error", "turn of the head against the target's, from landmarks", "degrees", "lower", _pose),
    EvaluationMetric(
        "expression_error", "brows, lids and mouth against the target's", "% of eye distance", "lower", _expression
    ),
    EvaluationMetric(
        "gaze_error", "irises in the frame of their eyes against the target's", "% of eye width", "lower", _gaze
    ),
    EvaluationMetric(
        "pose_hopenet",
        "yaw, pitch and roll by HopeNet against the target's, L2",
        "degrees",
        "lower",
        _read("pose_hopenet"),
    ),
    EvaluationMetric(
        "expression_3dmm",
        "expression coefficients by Deep3DFaceRecon against the target's, L2",
        "L2",
        "lower",
        _read("expression_3dmm"),
    ),
    EvaluationMetric(
        "gaze_l2cs", "direction of gaze by L2CS-Net against the target's", "degrees", "lower", _read("gaze_l2cs")
    ),
    EvaluationMetric(
        "jitter",
        "landmarks that shake from frame to frame beside the target's; a copy has 0",
        "% of eye distance",
        "lower",
        _jitter,
    ),
    EvaluationMetric(
        "flicker",
        "change from frame to frame of the difference to the target, along the face; a copy has 0",
        "% of the range",
        "lower",
        _flicker,
    ),
    EvaluationMetric("psnr_background", "to the target, outside the face", "dB", "higher", _psnr_background),
    EvaluationMetric("ssim_background", "to the target, outside the face", "1 is equal", "higher", _ssim_background),
    EvaluationMetric("lpips_background", "to the target, outside the face", "LPIPS", "lower", _lpips_background),
    EvaluationMetric(
        "detail_correlation", f"fine detail inside the face, with {_RIGHT}", "correlation", "higher", _detail
    ),
    EvaluationMetric(
        "sharpness_ratio",
        "strength of fine detail inside the face, to the exact swap's, or the target's where nobody knows that",
        "ratio",
        "one",
        _sharpness,
    ),
    EvaluationMetric(
        "feature_gain", f"closer than the target is to {_RIGHT}, around eyes and mouth", "dB", "higher", _feature_gain
    ),
    EvaluationMetric(
        "swap_gain", "closer to the exact swap than the target is, inside the face", "dB", "higher", _gain
    ),
    EvaluationMetric("psnr_truth", "to the exact swap, inside the face", "dB", "higher", _psnr_truth),
    EvaluationMetric("ssim_truth", "to the exact swap, inside the face", "1 is equal", "higher", _ssim_truth),
    EvaluationMetric("lpips_truth", "to the exact swap, inside the face", "LPIPS", "lower", _lpips_truth),
    EvaluationMetric("psnr_teacher", "to the first teacher", "dB", "higher", _psnr_teacher),
    EvaluationMetric("ssim_teacher", "to the first teacher", "1 is equal", "higher", _ssim_teacher),
    EvaluationMetric("fid", "Fréchet distance of the swaps' features to the targets'", "distance", "lower"),
    EvaluationMetric("kid", "kernel distance of the swaps' features to the targets'", "x 1000", "lower"),
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
