"""The progress line of a run: losses, images per second, time left."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress(pl.callbacks.ProgressBar):
    """A rich bar on a terminal, elsewhere one plain line after the first step and every `every` steps.

    Shows the metrics that were logged in training without their stage, training images per second over the last
    window, and the time left.
    """

    def __init__(self, every: int = 50) -> None:
        super().__init__()
        self.every = every
        self.live = sys.stderr.isatty()
        self.bar: Progress | None = None
        self.images = self.first_step = self.step = 0
        self.window_start = self.run_start = 0.0
        self.rate = 0.0

    def disable(self) -> None:
        """Show nothing (other processes of a multi-GPU run)."""
        self.live, self.every = False, 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Open the bar at the step where the run (re)starts."""
        self.window_start, self.images = time.monotonic(), 0
        self.first_step = self.step = trainer.global_step
        self.run_start = self.window_start
        if self.live:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=Console(stderr=True))
            self.task = self.bar.add_task("training", total=trainer.max_steps, completed=self.first_step, metrics="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: tuple[Any, ...], batch_idx: int
    ) -> None:
        """Count the images of the batch's first field; refresh now and then, after a step of the optimizer."""
        self.images += len(batch[0]) * trainer.world_size
        before, self.step = self.step, trainer.global_step
        step, every = self.step, 5 if self.live else self.every
        due = step % every == 0 or step in (self.first_step + 1, trainer.max_steps) if every else False
        if step == before or not due:
            return
        now = time.monotonic()
        self.rate = self.images / max(now - self.window_start, 1e-9)
        self.window_start, self.images = now, 0
        text = self._text(trainer)
        if self.bar is not None:
            self.bar.update(self.task, completed=step, metrics=text)
        elif self.every:
            left = (now - self.run_start) / max(step - self.first_step, 1) * (trainer.max_steps - step)
            print(f"step {step}/{trainer.max_steps}  {text}  left {left / 60:.1f} min", file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Say what held-out people look like, and leave validation out of the rate."""
        self.window_start, self.images = time.monotonic(), 0
        shown = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        line = f"validation at step {trainer.global_step}: " + _join(shown)
        if self.bar is not None:
            self.bar.console.print(line)
        elif self.every:
            print(line, file=sys.stderr, flush=True)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _text(self, trainer: pl.Trainer) -> str:
        shown = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("train/")}
        return f"{_join(shown)}  {self.rate:.1f} images/s"


def _join(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{key.split('/', 1)[1]} {float(value):.3f}" for key, value in metrics.items())
