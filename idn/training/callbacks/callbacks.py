"""What a run leaves behind while it trains: picture grids, the distribution of trust, checkpoints, snapshots."""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from idn.errors import UserError
from idn.files.atomic import atomic_write
from idn.files.tensors import read_metadata
from idn.provenance.pictures import label_columns, save_synthetic
from idn.training.checkpoints import save_alone, save_checkpoint
from idn.types import SwapBatch

LAST = "last.ckpt"
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
    """Writes how trust was distributed over the samples since the last line, every `every` steps. Of several processes,
    the first one's share of the samples is shown.

    path: a file of JSON lines {"step", "bins": counts of 20 equal bins of [0, 1], "p10", "p50", "p90"}, one per step. A
    run that goes on in the same folder continues it. Loggers that know histograms (W&B, TensorBoard) receive them too.
    """

    def __init__(self, path: str | Path, every: int = 100) -> None:
        self.path, self.every = Path(path), every
        self.seen: list[Tensor] = []
        self.step = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Drop the lines after the step where the run (re)starts."""
        self.step = trainer.global_step
        if trainer.is_global_zero and self.path.is_file():
            lines = self.path.read_text().splitlines(keepends=True)
            with atomic_write(self.path) as draft:
                draft.write_text("".join(line for line in lines if _step(line) <= self.step))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: SwapBatch, batch_idx: int
    ) -> None:
        """Collect, and write when it is time."""
        self.seen.append(outputs["trust"].detach())
        if trainer.global_step == self.step:  # a batch that only accumulates gradients
            return
        self.step = trainer.global_step
        if self.step % self.every:
            return
        values = torch.cat(self.seen).float().cpu()
        self.seen.clear()
        if trainer.is_global_zero:
            self._write(trainer, values)

    def state_dict(self) -> dict[str, Tensor]:
        """What a run that continues this one needs for its first line."""
        return {"seen": torch.cat(self.seen).float().cpu() if self.seen else torch.zeros(0)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Go on where the earlier run was."""
        self.seen = [state_dict["seen"]] if len(state_dict["seen"]) else []

    def _write(self, trainer: pl.Trainer, values: Tensor) -> None:
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


def _step(line: str) -> float:
    """The step of a line of JSON; infinite for one that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")


class SaveLast(pl.callbacks.Checkpoint):
    """Keeps the newest state of a run: after every validation, and every `every` steps between, so that a kill costs
    little.

    directory: gets `last.ckpt`, which `resume=` accepts. Raises UserError for an interval below 1.
    """

    def __init__(self, directory: str | Path, every: int) -> None:
        if every < 1:
            raise UserError(f"callbacks.last.every={every} must be at least 1 step")
        self.path, self.every, self.step = Path(directory) / LAST, every, 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note where the run (re)starts."""
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time."""
        moved, self.step = trainer.global_step > self.step, trainer.global_step
        if moved and self.step % self.every == 0:
            save_checkpoint(trainer, self.path)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save what was validated, with what the other callbacks remember of it."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            save_checkpoint(trainer, self.path)


class SaveOnError(pl.Callback):
    """When a run stops with an error or by Ctrl-C, writes a checkpoint of the last finite weights first.

    directory: gets `last_good.ckpt`, which `resume=` accepts.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / LAST_GOOD
        self.began: int | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note where the run (re)starts."""
        self.began = trainer.global_step

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Save, unless nothing was learned or the weights themselves are broken."""
        if self.began is None or trainer.global_step == self.began or not trainer.training:
            return
        saved = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(saved)
        weights = saved["state_dict"].values()
        if all(bool(torch.isfinite(value).all()) for value in weights if value.is_floating_point()):
            save_alone(trainer, self.path)
            if not isinstance(exception, Exception) and trainer.is_global_zero:  # Ctrl-C, or a request to terminate
                print(
                    f"stopped at step {trainer.global_step}: the same command with resume={self.path} goes on",
                    file=sys.stderr,
                )


class Snapshots(pl.Callback):
    """Keeps the averaged swapper at chosen shares of a run, such as a quality scorer learns from.

    directory: gets one `0.250.safetensors` per share, and holds those of one training alone: what a run with another
    number of steps kept there is removed, and what a lost attempt kept after the step where this one goes on.
    fractions: of `trainer.max_steps`, in [0, 1]; the nearest step counts. A run that is resumed with the same number of
    steps in another folder copies what its first part kept.
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
        """Put the folder in order, and keep what is due before the first step."""
        self._inherit(trainer)
        self._keep(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: SwapBatch, batch_idx: int
    ) -> None:
        """Keep what is due after this step."""
        self._keep(trainer, module)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the folder in order where training had come to its end before, and did not start."""
        self._inherit(trainer)

    def state_dict(self) -> dict[str, str | int]:
        """Where the snapshots are, for the run that continues this one."""
        return {"directory": str(self.directory.absolute()), "max_steps": self.max_steps}

    def load_state_dict(self, state_dict: dict[str, str | int]) -> None:
        """Remember where the first part of this run wrote."""
        self.earlier = state_dict

    def _inherit(self, trainer: pl.Trainer) -> None:
        """Remove the snapshots of another run, and fetch those that the first part of this one kept elsewhere."""
        if not trainer.is_global_zero:
            return
        for path in self.directory.glob("*.safetensors"):
            if self._is_foreign(path, trainer.global_step):
                path.unlink()
        for path in self.paths.values() if self.earlier.get("max_steps") == self.max_steps else ():
            before = Path(str(self.earlier["directory"]), path.name)
            if before.is_file() and not path.exists() and not self._is_foreign(before, trainer.global_step):
                with atomic_write(path) as draft:
                    shutil.copyfile(before, draft)

    def _is_foreign(self, path: Path, step: int) -> bool:
        """Whether a file is a snapshot, but none of this run up to `step`."""
        notes = read_metadata(path)
        if not re.fullmatch(r"[01]\.\d{3}\.safetensors", path.name) or not {"fraction", "steps"} <= notes.keys():
            return False
        return notes.get("max_steps") != str(self.max_steps) or int(notes["steps"]) > step

    def _keep(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for fraction, path in self.paths.items():
            if trainer.is_global_zero and trainer.global_step == round(fraction * self.max_steps):
                module.save(path, fraction)
