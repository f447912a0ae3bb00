"""What a run leaves behind while it trains: picture grids, the distribution of trust, a last checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from idn.picture import label_columns, save_synthetic
from idn.types import SwapBatch

LAST_GOOD = "last_good.ckpt"


class PictureGrid(pl.Callback):
    """Shows source, target, teacher, mask and student of the first held-out pairs, on disk and in the logger.

    directory: where `step_000600.png` goes. rows: pairs per picture.
    """

    def __init__(self, directory: str | Path, rows: int = 6) -> None:
        self.directory, self.rows = Path(directory), rows

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: SwapBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch of every validation."""
        if batch_idx or not trainer.is_global_zero:
            return
        columns = {
            "source": batch.source,
            "target": batch.target,
            "teacher": outputs["teacher"],
            "mask": outputs["mask"].expand(-1, 3, -1, -1),
            "student": outputs["student"],
        }
        if batch.truth is not None:
            columns["exact swap"] = batch.truth
        picture = label_columns({name: images[: self.rows] for name, images in columns.items()})
        step = trainer.global_step
        save_synthetic(picture, self.directory / f"step_{step:06d}.png", {"Step": str(step)})
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("val/grid", [picture], step=step)
            elif isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_image("val/grid", torch.from_numpy(picture), step, dataformats="HWC")


class TrustHistogram(pl.Callback):
    """Writes how trust was distributed over the samples of the last `every` steps.

    path: a file of JSON lines {"step", "bins": counts of 20 equal bins of [0, 1], "p10", "p50", "p90"}. Loggers that
    know histograms (W&B, TensorBoard) receive them too.
    """

    def __init__(self, path: str | Path, every: int = 100) -> None:
        self.path, self.every = Path(path), every
        self.seen: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: SwapBatch, batch_idx: int
    ) -> None:
        """Collect, and write when the window is full."""
        self.seen.append(outputs["trust"].detach())
        if len(self.seen) < self.every:
            return
        values = torch.cat(self.seen).float().cpu()
        self.seen.clear()
        if not trainer.is_global_zero:
            return
        quantiles = torch.quantile(values, torch.tensor([0.1, 0.5, 0.9])).tolist()
        line = {"step": trainer.global_step, "bins": torch.histc(values, 20, 0, 1).int().tolist()}
        line |= dict(zip(("p10", "p50", "p90"), (round(q, 4) for q in quantiles), strict=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_histogram("train/trust_histogram", values, trainer.global_step)
            elif isinstance(logger, pl.loggers.WandbLogger):
                logger.experiment.log({"train/trust_histogram": values.numpy()}, commit=False)


class KeepLastGood(pl.Callback):
    """When a run stops with an error or by Ctrl-C, writes a checkpoint of the last finite weights first.

    directory: gets `last_good.ckpt`, which `resume=` accepts.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / LAST_GOOD

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Save, unless nothing was learned or the weights themselves are broken."""
        weights = module.student.state_dict().values()
        finite = all(bool(torch.isfinite(value).all()) for value in weights if value.is_floating_point())
        if trainer.global_step and finite and trainer.training:
            trainer.save_checkpoint(self.path)
