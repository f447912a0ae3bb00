"""Fit: one training run from start to end. Train, validate, save what was learned, say what came of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
from torch import Tensor

from idn.errors import OptionError
from idn.files.run_folder import SUMMARY
from idn.metrics.compared import UNSCALED, maximised
from idn.training.callbacks.mirror import Mirror
from idn.training.dashboards import card, dashboards
from idn.training.loggers import ResumableCsvLogger
from idn.training.modules.finite_guard import NotFinite
from idn.training.report import write_summary
from idn.training.resume import check_resume, start
from idn.training.run_kinds import TrainingRun
from idn.training.stopping import stoppable


class Result(NamedTuple):
    """What a training run has made."""

    path: Path
    """Of its product, such as `student.safetensors`."""
    metrics: dict[str, float]
    """Of its last validation, by name, such as "val/loss"."""

    def metric(self, name: str) -> float:
        """One of the metrics. Raises OptionError if that was never logged."""
        if name not in self.metrics:
            known = ", ".join(sorted(self.metrics)) or "none"
            raise OptionError("metric", name, f"was not logged: choose one of {known}")
        return self.metrics[name]


def fit(trainer: pl.Trainer, run: TrainingRun, out: Path, resume: str | Path | None = None) -> Result:
    """Train, save the product in `out`, and print what was reached.

    trainer: with its callbacks and loggers.
    run: what is trained on what; see `idn.training.run_kinds`.
    out: folder of the run.
    resume: a checkpoint to go on from, None for the beginning.
    Raises UserError for a trainer or a checkpoint that does not fit, SystemExit (130 or 143) when somebody stops it.
    """
    check_resume(resume, trainer)
    run.begin(trainer)
    with alerting(trainer):
        metrics, path = complete(trainer, run, resume), out / run.product
    if trainer.is_global_zero:
        run.save(path, trainer, metrics)
        write_summary(out, run.summary(metrics))
        lineage, (best, standing) = run.lineage(), standing_of(metrics, trainer.loggers)
        for dashboard in dashboards(trainer.loggers):
            dashboard.log_product(path, card(run.product, lineage, metrics, standing), lineage, best)
        for mirror in (one for one in trainer.callbacks if isinstance(one, Mirror)):
            mirror.send()
        run.report(path, trainer, metrics)
    return Result(path, metrics)


def standing_of(metrics: Mapping[str, float], loggers: Sequence[pl.loggers.Logger]) -> tuple[bool, str]:
    """Whether no validation of a run was better than its last one, and a sentence about it.

    metrics: of the last one. loggers: of the run; its table of numbers knows all of them, those before it went on, too.
    """
    key = next((key for key in (*UNSCALED, "val/accuracy", "val/loss") if key in metrics), None)
    tables = [logger for logger in loggers if isinstance(logger, ResumableCsvLogger)]
    if key is None or not tables:
        return False, "Nothing is known of how its run went."
    known, better = tables[0].column(key), max if maximised(key) else min
    step = better(known, key=known.__getitem__, default=None)
    if step is None or better(known[step], metrics[key]) == metrics[key]:
        return True, f"No validation of its run had a better {key}."
    return False, f"Its run had a better {key} before: {known[step]:.4f} at step {step}."


@contextmanager
def alerting(trainer: pl.Trainer) -> Iterator[None]:
    """While this lasts, dashboards are told of a loss that is not finite."""
    try:
        yield
    except NotFinite as error:
        for dashboard in dashboards(trainer.loggers):
            dashboard.alert("training stopped", str(error))
        raise


def read_result(out: Path) -> Result:
    """What a run that other processes made has left in its folder."""
    path = max(out.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    summary = json.loads((out / SUMMARY).read_text())
    return Result(path, {key: value for key, value in summary.items() if key.startswith("val/")})


def complete(trainer: pl.Trainer, run: TrainingRun, resume: str | Path | None) -> dict[str, float]:
    """Run the trainer and return the metrics of its last step.

    One that had come to its end before and only lacks its result is validated once more.
    """
    with stoppable(trainer):
        start(trainer, run.module, run.data, resume)
    return validation_metrics(trainer.callback_metrics)


def validation_metrics(logged: Mapping[str, Tensor]) -> dict[str, float]:
    """Those of the last validation, as plain numbers."""
    return {key: float(value) for key, value in logged.items() if key.startswith("val/")}
