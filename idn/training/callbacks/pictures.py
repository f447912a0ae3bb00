"""Picture grid callback: the first held-out pairs after every validation, on disk and in the loggers."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idn.provenance.pictures import label_columns, save_synthetic
from idn.training.dashboards import dashboards
from idn.types import SwapBatch


class PictureGrid(pl.Callback):
    """Shows the first held-out pairs on disk and in dashboards: source, target, what was made of them, exact swap.

    What was made is what the validation step returns as `pictures`, by name, (N, 3 or 1, S, S) in [0, 1] each.
    directory: where `step_000600.png` goes. rows: pairs per picture.
    """

    def __init__(self, directory: str | Path, rows: int = 6) -> None:
        self.directory, self.rows = Path(directory), rows

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remove pictures of steps after the one where the run (re)starts, which a lost attempt drew."""
        if trainer.is_global_zero:
            for path in self.directory.glob("step_*.png"):
                if (number := path.stem.removeprefix("step_")).isdigit() and int(number) > trainer.global_step:
                    path.unlink()

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
        columns = {"source": batch.source, "target": batch.target}
        columns |= {name: images.expand(-1, 3, -1, -1) for name, images in outputs["pictures"].items()}
        if batch.truth is not None:
            columns["exact swap"] = batch.truth
        picture = label_columns({name: images[: self.rows] for name, images in columns.items()})
        step = trainer.global_step
        save_synthetic(picture, self.directory / f"step_{step:06d}.png", {"Step": str(step)})
        for dashboard in dashboards(trainer.loggers):
            dashboard.log_picture("val/grid", picture, step - 1, " | ".join(columns))  # numbers count steps from 0
