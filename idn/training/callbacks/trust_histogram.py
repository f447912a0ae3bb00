"""Trust histogram callback: how trust was distributed over the samples, as JSON lines and in dashboards."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from idn.files.atomic import atomic_write
from idn.training.dashboards import dashboards
from idn.types import SwapBatch


class TrustHistogram(pl.Callback):
    """Writes how trust was distributed over the samples since the last line, every `every` steps. Of several processes,
    the first one's share of the samples is shown.

    path: a file of JSON lines {"step", "bins": counts of 20 equal bins of [0, 1], "p10", "p50", "p90"}, one per step. A
    run that goes on in the same folder continues it. Dashboards receive them too.
    """

    def __init__(self, path: str | Path, every: int = 100) -> None:
        self.path, self.every = Path(path), every
        self.seen: list[Tensor] = []
        self.step = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Drop the lines after the step where the run (re)starts."""
        self.step = trainer.global_step
        if trainer.is_global_zero and self.path.is_file():
            lines = self.path.read_text(errors="replace").splitlines(keepends=True)
            with atomic_write(self.path) as draft:
                draft.write_text("".join(line for line in lines if _step(line) <= self.step))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: SwapBatch, batch_idx: int
    ) -> None:
        """Collect, and write when it is time."""
        if "trust" in outputs:
            self.seen.append(outputs["trust"].detach())
        if trainer.global_step == self.step:  # a batch that only accumulates gradients
            return
        self.step = trainer.global_step
        if self.step % self.every or not self.seen:
            return
        values = torch.cat(self.seen).float().cpu()
        self.seen.clear()
        if trainer.is_global_zero:
            self._write(trainer, values)

    def state_dict(self) -> dict[str, Tensor]:
        """What a run that continues this one needs for its first line."""
        return {"seen": torch.cat(self.seen).float().cpu() if self.seen else torch.zeros(0)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Go on where the earlier run was. Raises ValueError for what is no row of numbers."""
        seen = state_dict["seen"]
        if seen.ndim != 1:
            raise ValueError(f"weights of trust of shape {tuple(seen.shape)}")
        self.seen = [seen] if len(seen) else []

    def _write(self, trainer: pl.Trainer, values: Tensor) -> None:
        quantiles = torch.quantile(values, torch.tensor([0.1, 0.5, 0.9])).tolist()
        line = {"step": trainer.global_step, "bins": torch.histc(values, 20, 0, 1).int().tolist()}
        line |= dict(zip(("p10", "p50", "p90"), (round(q, 4) for q in quantiles), strict=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for dashboard in dashboards(trainer.loggers):
            dashboard.log_histogram("train/trust_histogram", values.numpy(), trainer.global_step - 1)  # as numbers


def _step(line: str) -> float:
    """The step of a line of JSON; infinite for one that a kill cut short or that is damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return float("inf")
