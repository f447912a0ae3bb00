"""Validation metrics of a quality scorer: rank correlations of its scores with labels, grades and true errors."""

from typing import Protocol

import torch
from torch import Tensor
from torchmetrics.functional.regression import spearman_corrcoef

from idn.metrics.metric import Metric

SCORER_METRICS = (
    Metric("loss", "mean squared difference of score and label", "lower"),
    Metric("rank_label", "rank correlation of score and label", "higher"),
    Metric("rank_grade", "rank correlation of score and grade (see below)", "higher"),
    Metric("rank_truth", "rank correlation of score and absolute error; 1 is perfect", "higher"),
    Metric("rank_truth_within", "the same among pictures of one grade", "higher"),
    Metric("rank_truth_of_pair", "the same among pictures of one pair", "higher"),
    Metric("rank_truth_of_labels", "what the labels themselves would reach", None),
    Metric("rank_structure", "rank correlation of score and 1 - SSIM; 1 is perfect", "higher"),
    Metric("rank_structure_within", "the same among pictures of one grade", "higher"),
    Metric("rank_structure_of_pair", "the same among pictures of one pair", "higher"),
    Metric("rank_structure_of_labels", "what the labels themselves would reach", None),
)
"""What `agreement` returns, in the order in which a report shows it."""

LEAST_SPREAD = 1 / 255
"""Among pictures whose errors differ by no more than a grey level, an order means nothing; as much of 1 - SSIM is as
little."""


class Grades(Protocol):
    """What is known of P pictures; each is (P,)."""

    labels: Tensor
    """In [0, 1]: what a scorer learns to say."""
    grades: Tensor
    """What pictures have in common that were spoiled alike."""
    errors: Tensor
    """Mean absolute error to the exact swap, infinite where nobody knows it."""
    differences: Tensor
    """1 - SSIM to it."""
    pairs: Tensor
    """Number of the pair that a picture was made of."""


def agreement(scores: Tensor, known: Grades) -> dict[str, float]:
    """How well scores tell quality. scores: (P,) in [0, 1]; known: of the same P pictures.

    loss: mean squared difference of score and label. rank_label: Spearman's rank correlation of the two; rank_grade: of
    score and grade. Where all errors are known, also rank_truth: rank correlation of the score with the mean absolute
    error, its sign turned, so that 1 is perfect; rank_truth_within: the same among pictures of one grade, averaged over
    the grades; rank_truth_of_pair: the same among the pictures of one pair, averaged; rank_truth_of_labels: what the
    labels themselves would reach instead of rank_truth. The same four as rank_structure with 1 - SSIM as the error.
    """
    values = {
        "loss": (scores - known.labels).square().mean(),
        "rank_label": spearman_corrcoef(scores, known.labels),
        "rank_grade": spearman_corrcoef(scores, known.grades),
    }
    if known.errors.isfinite().all():
        for name, errors in (("rank_truth", known.errors), ("rank_structure", known.differences)):
            values[name] = spearman_corrcoef(scores, -errors)
            values[f"{name}_of_labels"] = spearman_corrcoef(known.labels, -errors)
            for part, groups in (("within", known.grades), ("of_pair", known.pairs)):
                if (mean := _mean_rank(scores, errors, groups)) is not None:
                    values[f"{name}_{part}"] = mean
    return {name: float(value) for name, value in values.items()}


def _mean_rank(scores: Tensor, errors: Tensor, groups: Tensor) -> Tensor | None:
    """Rank correlation of score and turned error in every group, averaged over the groups whose errors differ."""
    members = [groups == group for group in groups.unique()]
    ranks = [
        spearman_corrcoef(scores[mine], -errors[mine])
        for mine in members
        if errors[mine].max() - errors[mine].min() > LEAST_SPREAD
    ]
    return torch.stack(ranks).mean() if ranks else None
