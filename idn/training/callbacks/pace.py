"""Pace of a run for dashboards: pictures per second, where the time goes, gradient norms, memory of the GPU."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer

from idn.training.dashboards import dashboards
from idn.training.optimization.optimizers import gradient_scaler


class Pace(pl.Callback):
    """Tells dashboards, every `trainer.log_every_n_steps`, how fast the steps since then were and what they waited for.

    `pace/images_per_second`; `pace/data`, `pace/teacher` and `pace/student`, seconds per batch that went to waiting for
    data, to the teacher's answer, and to all the rest; `gradient/GROUP`, the norm before clipping of each group of
    parameters; `gpu/memory_gb`, the most that was in use. Without a dashboard it does nothing: a table of numbers that
    differ from run to run would not be the same twice.
    """

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.hooks: list[Any] = []
        self.norms: dict[str, float] = {}
        self._begin_window()

    def _begin_window(self) -> None:
        self.images = self.batches = 0
        self.data = self.teacher = self.whole = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clocks, if somebody looks."""
        self.shown = list(dashboards(trainer.loggers))
        self.step, self.ended = trainer.global_step, time.perf_counter()
        teacher = getattr(getattr(module, "supervisor", None), "teacher", None)
        if self.shown and isinstance(teacher, nn.Module):
            self.hooks = [
                teacher.register_forward_pre_hook(lambda *_: self._teacher_begins(module)),
                teacher.register_forward_hook(lambda *_: self._teacher_ends(module)),
            ]

    def _teacher_begins(self, module: pl.LightningModule) -> None:
        _wait(module)
        self.asked = time.perf_counter()

    def _teacher_ends(self, module: pl.LightningModule) -> None:
        _wait(module)
        self.teacher += time.perf_counter() - self.asked

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """The data are there."""
        self.data += time.perf_counter() - self.ended

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients of a step that will be told."""
        if not self.shown or not self._due(trainer, trainer.global_step + 1):
            return
        scaler = gradient_scaler(module)
        scale = 1.0 if scaler is None else scaler.get_scale()
        for k, group in enumerate(optimizer.param_groups):
            gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            if gradients:
                name = group.get("name", f"group_{k}")
                self.norms[f"gradient/{name}"] = float(nn.utils.get_total_norm(gradients)) / scale

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and tell when it is time."""
        now = time.perf_counter()
        self.whole += now - self.ended
        self.ended = now
        self.images += len(batch[0]) * trainer.world_size
        self.batches += 1
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        if self.shown and self._due(trainer, self.step):
            self._tell(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leave validation out."""
        self.ended = time.perf_counter()
        self._begin_window()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the clocks off the teacher."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def _due(self, trainer: pl.Trainer, step: int) -> bool:
        return bool(trainer.log_every_n_steps) and step % trainer.log_every_n_steps == 0

    def _tell(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        count, found = max(self.batches, 1), dict(self.norms)
        found["pace/images_per_second"] = self.images / max(self.whole, 1e-9)
        found["pace/data"], found["pace/teacher"] = self.data / count, self.teacher / count
        found["pace/student"] = max(self.whole - self.data - self.teacher, 0.0) / count
        if module.device.type == "cuda":
            found["gpu/memory_gb"] = torch.cuda.max_memory_allocated(module.device) / 2**30
        for dashboard in self.shown:
            dashboard.log_metrics(found, self.step - 1)
        self.norms = {}
        self._begin_window()


def _wait(module: pl.LightningModule) -> None:
    """Until the GPU has done what it was given: what it is still to do would be counted elsewhere."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
