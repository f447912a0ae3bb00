"""Validation metrics of swapped pictures: what each is called, what it means, and how it is computed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from idn.metrics.detail import detail_correlation, feature_discs, sharpness_ratio
from idn.metrics.identity import identity_cosine
from idn.metrics.images import psnr, ssim, swap_gain
from idn.metrics.metric import Metric
from idn.types import IdentityEncoder, SwapBatch


class Recognised(NamedTuple):
    """How like their sources N pictures are, by an encoder that had no say in the training: cosines, (N,) each."""

    swap: Tensor
    target: Tensor
    """Of the untouched targets."""
    answer: Tensor | None
    """Of the teacher's pictures, where there are any."""


def ask_recogniser(
    recogniser: IdentityEncoder | None, batch: SwapBatch, swap: Tensor, answer: Tensor | None
) -> Recognised | None:
    """What an encoder that does not teach says of swaps and answers, (N, 3, S, S) in [0, 1]; None without one."""
    if recogniser is None:
        return None
    source = recogniser(batch.source).embedding
    of_swap, of_target = (identity_cosine(recogniser(part).embedding, source) for part in (swap, batch.target))
    of_answer = None if answer is None else identity_cosine(recogniser(answer).embedding, source)
    return Recognised(of_swap, of_target, of_answer)


class SeenSwaps(NamedTuple):
    """N swaps and what is known about them. Nothing in it carries a gradient."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    batch: SwapBatch
    """The pairs."""
    embedding: Tensor | None
    """(N, D): identity of `image`, where somebody looked."""
    source: Tensor
    """(N, D): identity of the sources."""
    target: Tensor | None = None
    """(N, D): identity of the untouched targets, where somebody looked."""
    answer: Tensor | None = None
    """(N, 3, S, S) in [0, 1]: the teacher's picture."""
    answer_cosine: Tensor | None = None
    """(N,): of the identities of `answer` and the sources."""
    trust: Tensor | None = None
    """(N,) in [0, 1]: in `answer`."""
    taught: Tensor | None = None
    """(N,) bool: rows in which `answer` is a teacher's. None: all, where there is an answer."""
    recognised: Recognised | None = None
    """What an encoder says that did not teach, where there is one."""


def _defined(seen: SeenSwaps, values: Tensor, wanted: Tensor | None = None) -> Tensor | None:
    """(N,) -> (K,) of the samples that show what is measured; None if there are none.

    values: NaN for the others, and for a swap that is not finite, which stays. wanted: (N,) bool, which samples count.
    """
    kept = ~values.isnan() | seen.image.isnan().flatten(1).any(1)
    values = values[kept if wanted is None else kept & wanted]
    return values if len(values) else None


def _taught(seen: SeenSwaps) -> Tensor:
    """(N,) bool: rows in which a teacher has answered."""
    if seen.answer is None:
        return torch.zeros_like(seen.batch.same)
    return torch.ones_like(seen.batch.same) if seen.taught is None else seen.taught


def _right(seen: SeenSwaps) -> tuple[Tensor, Tensor] | None:
    """(N, 3, S, S): the exact swap, or the teacher's picture where the data do not know that; (N,) bool: rows in which
    one of the two is there."""
    exact, taught, truth = seen.batch.exact, _taught(seen), seen.batch.truth
    if truth is None or seen.answer is None:
        right = seen.answer if truth is None else truth
    else:
        right = torch.where(exact[:, None, None, None], truth, seen.answer)
    return None if right is None else (right, exact | taught)


def _gain(seen: SeenSwaps) -> Tensor | None:
    """(K,): of the pairs that show two people; those of one person have their truth near the target."""
    if seen.batch.truth is None:
        return None
    gain = swap_gain(seen.image, seen.batch.target, seen.batch.truth, seen.batch.face)
    return _defined(seen, gain, ~seen.batch.same & seen.batch.exact)


def _feature_gain(seen: SeenSwaps) -> Tensor | None:
    """(K,): of the pairs that show two people, as far as their eyes and mouths are known and not covered."""
    right, points = _right(seen), seen.batch.landmarks
    if right is None or points is None:
        return None
    discs = feature_discs(points, seen.image.shape[-1]) * seen.batch.face
    return _defined(seen, swap_gain(seen.image, seen.batch.target, right[0], discs), ~seen.batch.same & right[1])


def _against_right(seen: SeenSwaps, measure: Callable[..., Tensor], image: Tensor) -> Tensor | None:
    """(K,): what a measure of two pictures and a mask says of an image, where somebody knows the right one."""
    if (right := _right(seen)) is None:
        return None
    return _defined(seen, measure(image, right[0], seen.batch.face), right[1])


def _detail(seen: SeenSwaps) -> Tensor | None:
    return _against_right(seen, detail_correlation, seen.image)


def _detail_target(seen: SeenSwaps) -> Tensor | None:
    return _against_right(seen, detail_correlation, seen.batch.target)


def _sharpness(seen: SeenSwaps) -> Tensor | None:
    return _against_right(seen, sharpness_ratio, seen.image)


def _psnr_truth(seen: SeenSwaps) -> Tensor | None:
    truth = seen.batch.truth
    return None if truth is None else _defined(seen, psnr(seen.image, truth, seen.batch.face), seen.batch.exact)


def _ssim_truth(seen: SeenSwaps) -> Tensor | None:
    truth = seen.batch.truth
    return None if truth is None else _defined(seen, ssim(seen.image, truth, seen.batch.face), seen.batch.exact)


def _identity_swap(seen: SeenSwaps) -> Tensor | None:
    return None if seen.embedding is None else identity_cosine(seen.embedding, seen.source)


def _by_teacher(seen: SeenSwaps, values: Tensor) -> Tensor | None:
    """(N,) -> (K,): of the rows in which a teacher has answered. All of them wait for no device."""
    return values if seen.taught is None else _defined(seen, values, seen.taught)


def _identity_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer_cosine is None else _by_teacher(seen, seen.answer_cosine)


def _identity_target(seen: SeenSwaps) -> Tensor | None:
    return None if seen.target is None else identity_cosine(seen.target, seen.source)


def _recogniser_swap(seen: SeenSwaps) -> Tensor | None:
    return None if seen.recognised is None else seen.recognised.swap


def _recogniser_teacher(seen: SeenSwaps) -> Tensor | None:
    known = seen.recognised
    return None if known is None or known.answer is None else _by_teacher(seen, known.answer)


def _recogniser_target(seen: SeenSwaps) -> Tensor | None:
    return None if seen.recognised is None else seen.recognised.target


def _psnr_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else _by_teacher(seen, psnr(seen.image, seen.answer))


def _ssim_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else _by_teacher(seen, ssim(seen.image, seen.answer))


def _psnr_target(seen: SeenSwaps) -> Tensor:
    return psnr(seen.image, seen.batch.target)


def _trust(seen: SeenSwaps) -> Tensor | None:
    return None if seen.trust is None else _by_teacher(seen, seen.trust)


_RIGHT = "the exact swap (the teacher's, where unknown)"
SWAP_METRICS = (
    Metric(
        "swap_gain",
        "dB closer to the exact swap than the target is, inside the face",
        "higher",
        _gain,
        column="swap gain, dB",
    ),
    Metric(
        "feature_gain",
        f"dB closer to {_RIGHT} than the target is, in discs around eyes and mouth",
        "higher",
        _feature_gain,
    ),
    Metric(
        "detail_correlation",
        f"correlation of fine detail with {_RIGHT}, inside the face; 1 is perfect",
        "higher",
        _detail,
        column="detail",
    ),
    Metric("detail_target", "the same of the untouched target: what a copy would reach", None, _detail_target),
    Metric(
        "sharpness_ratio",
        f"strength of fine detail over that of {_RIGHT}; smears raise it, 1 is no proof",
        None,
        _sharpness,
    ),
    Metric("identity_swap", "cosine of the swap to the source", "higher", _identity_swap, True, column="identity"),
    Metric("identity_teacher", "cosine of the teacher's picture to the source", None, _identity_teacher, True),
    Metric("identity_target", "cosine of the untouched target to the source", None, _identity_target),
    Metric(
        "identity_recogniser",
        "cosine of the swap to the source, by an encoder that did not teach",
        "higher",
        _recogniser_swap,
        column="identity, second encoder",
    ),
    Metric("identity_recogniser_teacher", "the same of the teacher's picture", None, _recogniser_teacher),
    Metric("identity_recogniser_target", "the same of the untouched target", None, _recogniser_target),
    Metric("psnr_truth", "dB to the exact swap, inside the face", "higher", _psnr_truth, column="PSNR to truth, dB"),
    Metric("ssim_truth", "similarity to the exact swap, inside the face", "higher", _ssim_truth),
    Metric("psnr_teacher", "dB to the teacher", "higher", _psnr_teacher),
    Metric("ssim_teacher", "similarity to the teacher", "higher", _ssim_teacher),
    Metric("psnr_target", "dB to the target: what was not changed", None, _psnr_target),
    Metric("trust", "mean trust in the teacher", None, _trust, True),
    Metric("loss", "objective", "lower"),
)
"""Of every training of a network that swaps, in the order in which a report shows them."""
