"""One training run from start to end: fit, save what was learned, and say what came of it."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl

import idn
from idn.data.loaders import SwapData
from idn.encoders.trained import save_trained
from idn.errors import UserError
from idn.reweighting.scorer import Kind, ScorerNotes, save_scorer
from idn.students.student_file import save_student
from idn.training.callbacks.checkpoints import LAST
from idn.training.checkpoints import save_checkpoint
from idn.training.modules.adversarial import SwapperModule, check_trainer
from idn.training.modules.distillation import DistillModule
from idn.training.modules.quality import QualityModule
from idn.training.modules.recognition import RecognitionModule
from idn.training.report import tell_encoder, tell_scorer, tell_student, tell_swapper
from idn.training.resume import check_resume, start
from idn.training.summary import write_summary


class Declared(Protocol):
    """What is read of a teacher's record."""

    name: str
    licence: str
    commercial: bool | None


def terms(record: Declared) -> dict[str, str]:
    """The teacher behind a file, and the terms of its weights."""
    commercial = {True: "allowed", False: "forbidden", None: "unknown"}[record.commercial]
    return {"teacher": record.name, "teacher_licence": record.licence, "teacher_commercial_use": commercial}


def lineage(module: DistillModule) -> dict[str, str]:
    """Where a student comes from, for its file: teacher, encoder and quality scorer with their licences."""
    return {
        **terms(module.teacher.record),
        "encoder": module.encoder.name,
        "encoder_licence": module.encoder.licence,
        "trained_with": f"idn-distill {idn.__version__}",
        **({} if module.trust.scorer is None else {"quality_scorer": module.trust.scorer.origin}),
    }


def complete(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, out: Path, resume: str | None
) -> dict[str, float]:
    """Run the trainer and return the metrics of its last step.

    A run that was not validated at its last step is, once more: one whose length is no multiple of the interval, and
    one that had come to its end before and only lacks its result. It leaves its last checkpoint in `out`.
    """
    if start(trainer, module, data, resume) != trainer.global_step:
        save_checkpoint(trainer, out / "checkpoints" / LAST)
        trainer.validate(module, data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}


def chosen(metrics: Mapping[str, float], metric: str) -> float:
    """The value of the metric that a sweep optimises. Raises UserError if that was never logged."""
    if metric not in metrics:
        raise UserError(f"metric={metric} was not logged: choose one of {', '.join(sorted(metrics)) or 'none'}")
    return metrics[metric]


def fit(
    trainer: pl.Trainer,
    module: DistillModule,
    data: SwapData,
    out: Path,
    resume: str | None,
    metric: str,
    options: Sequence[str] = (),
) -> float:
    """Distil, save the averaged student as `out/student.safetensors` and print what was reached.

    options: what the user typed, repeated in the command to try next. Returns the last value of `metric`. Raises
    UserError, when all is saved, if that was never logged.
    """
    check_resume(resume, trainer)
    if trainer.is_global_zero:
        name, licence, commercial = terms(module.teacher.record).values()
        print(f"teacher: {name}; licence: {licence}; commercial use {commercial}")
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "student.safetensors"
        notes = {"steps": str(trainer.global_step), "metrics": json.dumps(metrics)}
        framing = {"template": data.template, "size": str(data.size)}
        save_student(module.ema.network, path, lineage(module) | framing | notes)
        write_summary(out, metrics)
        tell_student(metrics, out, path, trainer, options)
    return chosen(metrics, metric)


def fit_swapper(
    trainer: pl.Trainer,
    module: SwapperModule,
    data: pl.LightningDataModule,
    out: Path,
    resume: str | None,
    metric: str,
    options: Sequence[str] = (),
) -> float:
    """Train a swapper, save its average as `out/teacher.safetensors` and print what was reached.

    options: what the user typed; those that a student must share are repeated in the command to try next. Returns the
    last value of `metric`. Raises UserError if the trainer does not fit, and, when all is saved, if that was never
    logged.
    """
    check_trainer(trainer)
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "teacher.safetensors"
        module.save(path, trainer.global_step / trainer.max_steps)
        write_summary(out, metrics)
        tell_swapper(metrics, out, path, module, options)
    return chosen(metrics, metric)


def fit_recogniser(
    trainer: pl.Trainer,
    module: RecognitionModule,
    data: pl.LightningDataModule,
    out: Path,
    resume: str | None,
    licence: str,
    command: str,
) -> float:
    """Train an identity encoder, save it as `out/encoder.safetensors`, and return its verification accuracy.

    licence: of the weights. command: the line that trained them, kept in the file.
    """
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "encoder.safetensors"
        save_trained(module.network, path, licence, command, metrics)
        write_summary(out, metrics)
        tell_encoder(metrics, path)
    return metrics["val/accuracy"]


def fit_scorer(
    trainer: pl.Trainer,
    module: QualityModule,
    data: pl.LightningDataModule,
    out: Path,
    resume: str | None,
    kind: Kind,
    record: Declared,
    command: str,
) -> float:
    """Train a quality scorer, save it as `out/scorer.safetensors`, and return its loss on held-out people.

    kind: what its labels are. record: of the teacher whose pictures it saw. command: the line that trained it, as a
    shell takes it.
    """
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "scorer.safetensors"
        notes = ScorerNotes(kind=kind, **terms(record), command=command, metrics=metrics)
        save_scorer(module.network, path, notes)
        levels = [
            {name: value for name, value in level._asdict().items() if math.isfinite(value)} for level in module.levels
        ]
        write_summary(out, metrics | {"kind": kind, "teacher": record.name, "levels": levels})
        tell_scorer(notes, module.levels, path, trainer.global_step, shlex.split(command))
    return metrics["val/loss"]
