"""Validation metrics of swapped pictures: what each is called, what it means, and how it is computed."""

from typing import NamedTuple

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
    recognised: Recognised | None = None
    """What an encoder says that did not teach, where there is one."""


def _defined(seen: SeenSwaps, values: Tensor, wanted: Tensor | None = None) -> Tensor | None:
    """(N,) -> (K,) of the samples that show what is measured; None if there are none.

    values: NaN for the others, and for a swap that is not finite, which stays. wanted: (N,) bool, which samples count.
    """
    kept = ~values.isnan() | seen.image.isnan().flatten(1).any(1)
    values = values[kept if wanted is None else kept & wanted]
    return values if len(values) else None


def _right(seen: SeenSwaps) -> Tensor | None:
    """(N, 3, S, S): the exact swap, or the teacher's picture where the data do not know that."""
    return seen.answer if seen.batch.truth is None else seen.batch.truth


def _gain(seen: SeenSwaps) -> Tensor | None:
    """(K,): of the pairs that show two people; those of one person have their truth near the target."""
    if seen.batch.truth is None:
        return None
    gain = swap_gain(seen.image, seen.batch.target, seen.batch.truth, seen.batch.face)
    return _defined(seen, gain, ~seen.batch.same)


def _feature_gain(seen: SeenSwaps) -> Tensor | None:
    """(K,): of the pairs that show two people, as far as their eyes and mouths are known and not covered."""
    right, points = _right(seen), seen.batch.landmarks
    if right is None or points is None:
        return None
    discs = feature_discs(points, seen.image.shape[-1]) * seen.batch.face
    return _defined(seen, swap_gain(seen.image, seen.batch.target, right, discs), ~seen.batch.same)


def _detail(seen: SeenSwaps) -> Tensor | None:
    right = _right(seen)
    return None if right is None else _defined(seen, detail_correlation(seen.image, right, seen.batch.face))


def _detail_target(seen: SeenSwaps) -> Tensor | None:
    right = _right(seen)
    return None if right is None else _defined(seen, detail_correlation(seen.batch.target, right, seen.batch.face))


def _sharpness(seen: SeenSwaps) -> Tensor | None:
    right = _right(seen)
    return None if right is None else _defined(seen, sharpness_ratio(seen.image, right, seen.batch.face))


def _psnr_truth(seen: SeenSwaps) -> Tensor | None:
    truth = seen.batch.truth
    return None if truth is None else _defined(seen, psnr(seen.image, truth, seen.batch.face))


def _ssim_truth(seen: SeenSwaps) -> Tensor | None:
    truth = seen.batch.truth
    return None if truth is None else _defined(seen, ssim(seen.image, truth, seen.batch.face))


def _identity_swap(seen: SeenSwaps) -> Tensor | None:
    return None if seen.embedding is None else identity_cosine(seen.embedding, seen.source)


def _identity_teacher(seen: SeenSwaps) -> Tensor | None:
    return seen.answer_cosine


def _identity_target(seen: SeenSwaps) -> Tensor | None:
    return None if seen.target is None else identity_cosine(seen.target, seen.source)


def _recogniser_swap(seen: SeenSwaps) -> Tensor | None:
    return None if seen.recognised is None else seen.recognised.swap


def _recogniser_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.recognised is None else seen.recognised.answer


def _recogniser_target(seen: SeenSwaps) -> Tensor | None:
    return None if seen.recognised is None else seen.recognised.target


def _psnr_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else psnr(seen.image, seen.answer)


def _ssim_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else ssim(seen.image, seen.answer)


def _psnr_target(seen: SeenSwaps) -> Tensor:
    return psnr(seen.image, seen.batch.target)


def _trust(seen: SeenSwaps) -> Tensor | None:
    return seen.trust


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
