"""Snapshot callback: the averaged swapper at chosen shares of a run."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idn.errors import OptionError
from idn.files.atomic import atomic_write
from idn.files.tensors import read_metadata
from idn.types import SwapBatch


class Snapshots(pl.Callback):
    """Keeps the averaged swapper at chosen shares of a run, such as a quality scorer learns from.

    directory: gets one `0.250.safetensors` per share, and holds those of one training alone: what a run with another
    number of steps kept there is removed, and what a lost attempt kept after the step where this one goes on.
    fractions: of `trainer.max_steps`, in [0, 1]; the nearest step counts. A run that is resumed with the same number of
    steps in another folder copies what its first part kept.
    Raises OptionError for a share outside [0, 1], and for two that would have one name.
    """

    def __init__(self, directory: str | Path, fractions: Sequence[float]) -> None:
        self.directory, self.max_steps = Path(directory), 0
        self.paths = {fraction: self.directory / f"{fraction:.3f}.safetensors" for fraction in fractions}
        if any(not 0 <= fraction <= 1 for fraction in fractions) or len(set(self.paths.values())) < len(fractions):
            wanted = "must be different shares between 0 and 1, with three decimals at most"
            raise OptionError("fractions", list(fractions), wanted)
        self.earlier: dict[str, str | int] = {}

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Raises OptionError if the run has no end of which a share could be taken."""
        self.max_steps = trainer.max_steps
        if self.max_steps < 1 and self.paths:
            wanted = "is no end, of which snapshots could be kept at shares: give the number of steps"
            raise OptionError("max_steps", trainer.max_steps, wanted, trainer)

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
