"""FID and KID: how far all swaps of a method together are from the untouched targets, on named features."""

import warnings

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from idn.evaluation.intervals import Interval

_LEAST = 4
_SUBSETS, _SUBSET = 50, 100
"""Of KID: how often, and how many pictures at a time."""
_CHUNK = 1024


class _Known(nn.Module):
    """Passes features on that were computed before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = channels

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) as they are."""
        return features


def fid(features: Tensor, real: Tensor) -> Interval | None:
    """Fréchet distance (Heusel et al. 2017) of two sets of features, (P, C) and (Q, C); None for fewer than four.

    It has no interval, and falls with the number of pictures: compare it at equal numbers.
    """
    if min(len(features), len(real)) < _LEAST:
        return None
    metric = FrechetInceptionDistance(feature=_Known(features.shape[1])).set_dtype(torch.float64)
    for values, is_real in ((real, True), (features, False)):
        for chunk in values.double().split(_CHUNK):
            metric.update(chunk, real=is_real)
    value = max(0.0, float(metric.compute()))  # rounding takes equal sets below it
    return Interval(value, float("nan"), float("nan"), len(features))


def kid(features: Tensor, real: Tensor) -> Interval | None:
    """Kernel distance (Binkowski et al. 2018) times 1000, with twice its spread over subsets; None for too few."""
    count = min(len(features) // 2, len(real) // 2, _SUBSET)
    if count < _LEAST:
        return None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*save all extracted features")
        torch.manual_seed(0)
        metric = KernelInceptionDistance(feature=_Known(features.shape[1]), subsets=_SUBSETS, subset_size=count)
        metric.update(real, real=True)
        metric.update(features, real=False)
        mean, spread = (1000 * float(value) for value in metric.compute())
    return Interval(mean, mean - 2 * spread, mean + 2 * spread, len(features))
