"""What a run leaves behind while it trains: picture grids, the distribution of trust, snapshots, a last checkpoint."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from idn.errors import UserError
from idn.picture import label_columns, save_synthetic
from idn.types import SwapBatch

LAST_GOOD = "last_good.ckpt"
COLUMNS = ("teacher", "mask", "student", "swap")
"""What a validation step may return for the picture grid, in the order in which it is shown."""


class PictureGrid(pl.Callback):
    """Shows the first held-out pairs on disk and in the logger: source, target, what was made of them, exact swap.

    What was made is whatever of COLUMNS the validation step returns, (N, 3 or 1, S, S) in [0, 1] each.
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
        columns = {"source": batch.source, "target": batch.target}
        columns |= {name: outputs[name].expand(-1, 3, -1, -1) for name in COLUMNS if name in outputs}
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
        saved = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(saved)
        weights = saved["state_dict"].values()
        finite = all(bool(torch.isfinite(value).all()) for value in weights if value.is_floating_point())
        if trainer.global_step and finite and trainer.training:
            trainer.save_checkpoint(self.path)


class Snapshots(pl.Callback):
    """Keeps the averaged swapper at chosen shares of a run, such as a quality scorer learns from.

    directory: gets one `0.250.safetensors` per share. fractions: of `trainer.max_steps`, in [0, 1]; the nearest step
    counts. A run that is resumed with the same number of steps copies what its first part kept.
    Raises UserError for a share outside [0, 1], and for two that would have one name.
    """

    def __init__(self, directory: str | Path, fractions: Sequence[float]) -> None:
        self.directory, self.max_steps = Path(directory), 0
        self.paths = {fraction: self.directory / f"{fraction:.3f}.safetensors" for fraction in fractions}
        if any(not 0 <= fraction <= 1 for fraction in fractions) or len(set(self.paths.values())) < len(fractions):
            raise UserError(
                f"callbacks.snapshots.fractions={list(fractions)} must be different shares between 0 and 1, with three "
                "decimals at most"
            )
        self.earlier: dict[str, str | int] = {}

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Raises UserError if the run has no end of which a share could be taken."""
        self.max_steps = trainer.max_steps
        if self.max_steps < 1 and self.paths:
            raise UserError("snapshots need trainer.max_steps: give it, or set callbacks.snapshots.fractions=[]")

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the untrained network if that was asked for, and fetch what the first part of this run kept."""
        if not trainer.global_step:
            self._keep(trainer, module)
        elif self.earlier.get("max_steps") == self.max_steps and trainer.is_global_zero:
            for path in self.paths.values():
                before = Path(str(self.earlier["directory"]), path.name)
                if before.is_file() and not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(before, path)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: SwapBatch, batch_idx: int
    ) -> None:
        """Keep what is due after this step."""
        self._keep(trainer, module)

    def state_dict(self) -> dict[str, str | int]:
        """Where the snapshots are, for the run that continues this one."""
        return {"directory": str(self.directory.absolute()), "max_steps": self.max_steps}

    def load_state_dict(self, state_dict: dict[str, str | int]) -> None:
        """Remember where the first part of this run wrote."""
        self.earlier = state_dict

    def _keep(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for fraction, path in self.paths.items():
            if trainer.is_global_zero and trainer.global_step == round(fraction * self.max_steps):
                module.save(path, fraction)
