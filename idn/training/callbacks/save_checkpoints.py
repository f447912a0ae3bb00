"""Checkpoint callbacks: the newest state of a run, and the last good one when it breaks off or is stopped.

Lightning's ModelCheckpoint keeps the best one. It does not keep these, because it saves after validations or between
them but not both, what a resumed run refused before its first step, weights that are not finite, and waits on an error
for processes that do not come by.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idn.errors import Hopeless, TornStep
from idn.files.option_checks import require_int
from idn.files.run_folder import LAST, LAST_GOOD
from idn.training.checkpoint_io import save_alone


class SaveLast(pl.callbacks.Checkpoint):
    """Keeps the newest state of a run: after every validation, and every `every` steps between, so that a kill costs
    little.

    directory: gets `last.ckpt`, which `resume=` accepts.
    every: optimizer steps. Raises OptionError for an interval below 1.
    keep: states that stay, the newest ones; those before the last are called `step_000100.ckpt`. Raises OptionError for
        none.
    """

    def __init__(self, directory: str | Path, every: int = 1000, keep: int = 1) -> None:
        require_int("every", every, 1)
        require_int("keep", keep, 1)
        self.path, self.every, self.keep, self.step = Path(directory) / LAST, every, keep, 0
        self.saved: int | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note where the run (re)starts."""
        self.step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Save the step before, if it is time; all its numbers are told by now."""
        self._save_moved(trainer, trainer.global_step % self.every == 0)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The same, and what the whole run has learned in any case: a validation may take long."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save_moved(trainer, trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save what was validated, with what the other callbacks remember of it."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the end of a run that has no validations."""
        self._save_moved(trainer, True)

    def _save_moved(self, trainer: pl.Trainer, due: bool) -> None:
        """Save if it is due, once for a step."""
        moved, self.step = trainer.global_step > self.step, trainer.global_step
        if moved and due:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        """Save; of several states that are kept, the last one steps back, and the oldest goes."""
        if self.keep > 1 and trainer.is_global_zero and self.saved not in (None, trainer.global_step):
            before = self.path.with_name(f"step_{self.saved:06d}.ckpt")
            before.unlink(missing_ok=True)
            before.hardlink_to(self.path)  # the new state takes the place of one name, not of the other
            for old in sorted(self.path.parent.glob("step_*.ckpt"), key=_age)[: 1 - self.keep]:
                old.unlink()
        trainer.save_checkpoint(self.path)
        self.saved = trainer.global_step
        if trainer.is_global_zero:
            self.path.with_name(LAST_GOOD).unlink(missing_ok=True)  # where an earlier attempt stopped


def _age(path: Path) -> float:
    return path.stat().st_mtime


class SaveOnError(pl.Callback):
    """When a run stops with an error, by Ctrl-C or a request to terminate, keeps its last finite weights first.

    directory: gets `last_good.ckpt`, which `resume=` accepts.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / LAST_GOOD
        self.began: int | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note where the run (re)starts."""
        self.began = trainer.global_step

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Save, unless nothing was learned, the weights or the step are broken, or nobody wants them any more."""
        if isinstance(exception, Hopeless | TornStep):
            return
        if self.began is None or trainer.global_step == self.began or trainer.state.fn != "fit":
            return
        saved = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(saved)
        weights = saved["state_dict"].values()
        if all(bool(torch.isfinite(value).all()) for value in weights if value.is_floating_point()):
            save_alone(trainer, self.path)
