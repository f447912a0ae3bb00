"""Validation metrics of swapped pictures: what each is called, what it means, and how it is computed."""

from typing import NamedTuple

from torch import Tensor

from idn.metrics.identity import identity_cosine
from idn.metrics.images import psnr, ssim, swap_gain
from idn.metrics.metric import Metric
from idn.types import SwapBatch


class SeenSwaps(NamedTuple):
    """N swaps and what is known about them. Nothing in it carries a gradient."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    batch: SwapBatch
    """The pairs."""
    embedding: Tensor
    """(N, D): identity of `image`."""
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


def _gain(seen: SeenSwaps) -> Tensor | None:
    """(K,): of the pairs that show two people; those of one person have their truth near the target."""
    different = ~seen.batch.same
    if seen.batch.truth is None or not different.any():
        return None
    return swap_gain(seen.image, seen.batch.target, seen.batch.truth, seen.batch.face)[different]


def _psnr_truth(seen: SeenSwaps) -> Tensor | None:
    return None if seen.batch.truth is None else psnr(seen.image, seen.batch.truth, seen.batch.face)


def _ssim_truth(seen: SeenSwaps) -> Tensor | None:
    return None if seen.batch.truth is None else ssim(seen.image, seen.batch.truth, seen.batch.face)


def _identity_swap(seen: SeenSwaps) -> Tensor:
    return identity_cosine(seen.embedding, seen.source)


def _identity_teacher(seen: SeenSwaps) -> Tensor | None:
    return seen.answer_cosine


def _identity_target(seen: SeenSwaps) -> Tensor | None:
    return None if seen.target is None else identity_cosine(seen.target, seen.source)


def _psnr_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else psnr(seen.image, seen.answer)


def _ssim_teacher(seen: SeenSwaps) -> Tensor | None:
    return None if seen.answer is None else ssim(seen.image, seen.answer)


def _psnr_target(seen: SeenSwaps) -> Tensor:
    return psnr(seen.image, seen.batch.target)


def _trust(seen: SeenSwaps) -> Tensor | None:
    return seen.trust


SWAP_METRICS = (
    Metric(
        "swap_gain",
        "dB closer to the exact swap than the target is, inside the face",
        "higher",
        _gain,
        column="swap gain, dB",
    ),
    Metric("identity_swap", "cosine of the swap to the source", "higher", _identity_swap, True, column="identity"),
    Metric("identity_teacher", "cosine of the teacher's picture to the source", None, _identity_teacher, True),
    Metric("identity_target", "cosine of the untouched target to the source", None, _identity_target),
    Metric("psnr_truth", "dB to the exact swap, inside the face", "higher", _psnr_truth, column="PSNR to truth, dB"),
    Metric("ssim_truth", "similarity to the exact swap, inside the face", "higher", _ssim_truth),
    Metric("psnr_teacher", "dB to the teacher", "higher", _psnr_teacher),
    Metric("ssim_teacher", "similarity to the teacher", "higher", _ssim_teacher),
    Metric("psnr_target", "dB to the target: what was not changed", None, _psnr_target),
    Metric("trust", "mean trust in the teacher", None, _trust, True),
    Metric("loss", "objective", "lower"),
)
"""Of every training of a network that swaps, in the order in which a report shows them."""
