"""Face verification (the protocol of LFW): accuracy over folds, area under the ROC curve, TAR at a low FAR."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from idn.metrics.metric import Metric

VERIFICATION_METRICS = (
    Metric("accuracy", "share of held-out pairs that are told right, over folds", "higher"),
    Metric("auc", "area under the ROC curve", "higher"),
    Metric("tar_at_far_1e-3", "same pairs accepted where one different pair in a thousand is", "higher"),
)
"""What `verify` returns."""


def verify(scores: Tensor, same: Tensor, folds: int = 10) -> dict[str, float]:
    """Face verification as on LFW.

    scores: (P,), higher means more alike.
    same: (P,) bool, with both kinds of pair.
    folds: parts; each is judged with the threshold that is best on all the others. The pairs of either kind are dealt
        out in turn, so every part holds both.

    Returns `accuracy`, the mean over the folds; `auc`, the area under the ROC curve; `tar_at_far_1e-3`, the share of
    same pairs accepted where at most one different pair in a thousand is. Raises ValueError with fewer than `folds`
    pairs of a kind, or fewer than two folds.
    """
    if folds < 2 or min(int(same.sum()), int((~same).sum())) < folds:
        raise ValueError(f"folds={folds}: needs at least 2 folds, and as many pairs of either kind as folds")
    fold = torch.empty_like(same, dtype=torch.long)
    for kind in (same, ~same):
        fold[kind] = torch.arange(int(kind.sum()), device=same.device) % folds
    hits = []
    for k in range(folds):
        threshold = _best_threshold(scores[fold != k], same[fold != k])
        hits.append(float(((scores[fold == k] > threshold) == same[fold == k]).double().mean()))
    negatives = scores[~same].sort(descending=True).values
    accept_above = negatives[int(len(negatives) * 1e-3)]
    return {
        "accuracy": sum(hits) / folds,
        "auc": float(binary_auroc(scores, same.long())),
        "tar_at_far_1e-3": float((scores[same] > accept_above).double().mean()),
    }


def _best_threshold(scores: Tensor, same: Tensor) -> Tensor:
    """The middle of the gap between two neighbouring scores that separates the kinds with the fewest mistakes."""
    ordered, order = scores.sort()
    kinds = same[order].long()
    mistakes = kinds.cumsum(0) + (1 - kinds).sum() - (1 - kinds).cumsum(0)
    best = int(mistakes[:-1].argmin())
    return (ordered[best] + ordered[best + 1]) / 2
