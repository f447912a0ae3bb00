"""What the validations of swapping networks have in common."""

from collections.abc import Mapping

import pytorch_lightning as pl
from torch import Tensor

from idn.metrics.images import psnr, ssim, swap_gain
from idn.types import SwapBatch


def log_means(module: pl.LightningModule, metrics: Mapping[str, Tensor]) -> None:
    """Log the mean of every metric as `val/NAME`. metrics: (N,) each."""
    for name, values in metrics.items():
        module.log(f"val/{name}", values.mean(), batch_size=len(values), sync_dist=True)


def log_truth(module: pl.LightningModule, image: Tensor, batch: SwapBatch) -> None:
    """Log how close `image`, (N, 3, S, S) in [0, 1], comes to the exact swap inside the face; nothing if none is known.

    `val/psnr_truth`, `val/ssim_truth`, and `val/swap_gain` over the pairs that show two people.
    """
    if batch.truth is None:
        return
    metrics = {
        "psnr_truth": psnr(image, batch.truth, batch.face),
        "ssim_truth": ssim(image, batch.truth, batch.face),
    }
    different = ~batch.same
    if different.any():
        metrics["swap_gain"] = swap_gain(image, batch.target, batch.truth, batch.face)[different]
    log_means(module, metrics)
