"""One training run from start to summary: fit, save what was learned, say where it is and what to do next."""

import json
import math
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

import idn
from idn.data.module import SwapData
from idn.distill import DistillModule
from idn.errors import UserError
from idn.identity.trained import save_trained
from idn.quality import Level, QualityModule
from idn.recognition import RecognitionModule
from idn.scorer import Kind, ScorerNotes, save_scorer
from idn.summary import SHARED, metric_table, places, print_places, repeated
from idn.swapper import SwapperModule, check_trainer

MEANING = {
    "val/swap_gain": "dB closer to the exact swap than the target is, inside the face",
    "val/psnr_truth": "dB to the exact swap, inside the face",
    "val/ssim_truth": "similarity to the exact swap, inside the face",
    "val/identity_student": "cosine of the student's picture to the source",
    "val/identity_teacher": "cosine of the teacher's picture to the source",
    "val/identity_target": "cosine of the untouched target to the source",
    "val/psnr_teacher": "dB to the teacher",
    "val/ssim_teacher": "similarity to the teacher",
    "val/trust": "mean trust in the teacher",
    "val/loss": "objective",
}
"""What the summary shows, in this order."""

SWAPPER_MEANING = {
    "val/swap_gain": "dB closer to the exact swap than the target is, inside the face",
    "val/psnr_truth": "dB to the exact swap, inside the face",
    "val/ssim_truth": "similarity to the exact swap, inside the face",
    "val/identity_swap": "cosine of the swap to the source",
    "val/identity_target": "cosine of the untouched target to the source",
    "val/psnr_target": "dB to the target: what was not changed",
    "val/loss": "objective",
}
"""What the summary of a swapper of one's own shows, in this order."""

SCORER_MEANING = {
    "val/loss": "mean squared difference of score and label",
    "val/rank_label": "rank correlation of score and label",
    "val/rank_grade": "rank correlation of score and grade (see below)",
    "val/rank_truth": "rank correlation of score and absolute error; 1 is perfect",
    "val/rank_truth_within": "the same among pictures of one grade",
    "val/rank_truth_of_pair": "the same among pictures of one pair",
    "val/rank_truth_of_labels": "what the labels themselves would reach",
    "val/rank_structure": "rank correlation of score and 1 - SSIM; 1 is perfect",
    "val/rank_structure_within": "the same among pictures of one grade",
    "val/rank_structure_of_pair": "the same among pictures of one pair",
    "val/rank_structure_of_labels": "what the labels themselves would reach",
}
"""What the summary of a quality scorer shows, in this order."""

GRADES = {"snapshots": "completed share of the teacher's training", "degradations": "1 - strength of the damage"}
"""What a grade means, by kind of scorer."""


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
        "identity_encoder": module.encoder.name,
        "identity_encoder_licence": module.encoder.licence,
        "trained_with": f"idn-distill {idn.__version__}",
        **({} if module.trust.scorer is None else {"quality_scorer": module.trust.scorer.origin}),
    }


def check_resume(resume: str | Path | None, trainer: pl.Trainer) -> None:
    """Raise UserError if the checkpoint to continue is missing, unreadable or already complete."""
    if resume is None:
        return
    path = Path(resume)
    if not path.is_file():
        raise UserError(f"resume={path} does not exist: give the path of a .ckpt file of an earlier run")
    try:
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    except (RuntimeError, KeyError, EOFError, OSError, ValueError, TypeError) as error:
        raise UserError(f"resume={path} is not a checkpoint of a training run, or it is damaged") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"resume={path} holds more than tensors and numbers, and is not opened") from error
    if step >= trainer.max_steps:
        raise UserError(f"resume={path} is at step {step}: give trainer.max_steps a larger number to go on")


def start(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resume: str | None) -> None:
    """Run the trainer, from a checkpoint or from the beginning. Raises UserError if the checkpoint does not fit."""
    check_resume(resume, trainer)
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if resume is None or "Error(s) in loading state_dict" not in str(error):
            raise
        raise UserError(
            f"resume={resume} belongs to another configuration: {' '.join(str(error).split())[:300]}"
        ) from error


def complete(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, out: Path, resume: str | None
) -> dict[str, float]:
    """Run the trainer and return the metrics of its last step.

    A run whose length is no multiple of the validation interval is validated and checkpointed once more at its end.
    """
    start(trainer, module, data, resume)
    if trainer.global_step % trainer.val_check_interval:
        trainer.save_checkpoint(out / "checkpoints" / "last.ckpt")
        trainer.validate(module, data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}


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
    UserError if that was never logged.
    """
    check_resume(resume, trainer)
    if trainer.is_global_zero:
        name, licence, commercial = terms(module.teacher.record).values()
        print(f"teacher: {name}; licence: {licence}; commercial use {commercial}")
    metrics = complete(trainer, module, data, out, resume)
    if metric not in metrics:
        raise UserError(f"metric={metric} was not logged: choose one of {', '.join(sorted(metrics)) or 'none'}")
    if trainer.is_global_zero:
        path = out / "student.safetensors"
        notes = {"steps": str(trainer.global_step), "metrics": json.dumps(metrics)}
        framing = {"template": data.frame, "size": str(data.size)}
        module.ema.network.save(path, lineage(module) | framing | notes)
        (out / "summary.json").write_text(json.dumps(metrics, indent=2) + "\n")
        summarise(metrics, out, path, trainer, options)
    return metrics[metric]


def summarise(
    metrics: Mapping[str, float], out: Path, student: Path, trainer: pl.Trainer, options: Sequence[str]
) -> None:
    """Print the table of the last validation, then where everything is and what to try next."""
    Console().print(metric_table(f"held-out people, after {trainer.global_step} steps", metrics, MEANING))
    checkpoint = out / "checkpoints" / "last.ckpt"
    print_places({"student": student, **places(out)})
    kept = repeated(word for word in options if not word.startswith(("resume=", "trainer.max_steps=")))
    plain = not any(word.startswith(("experiment=", "teacher=", "data=")) for word in options)
    longer = "   or the long run: idn train experiment=procedural_full" if plain else ""
    print(f"to a phone: idn export {for_export(options)}student={student} identity=none out={out / 'export'}")
    print(f"next: idn train {kept}resume={checkpoint} trainer.max_steps={2 * trainer.max_steps}{longer}")


def for_export(options: Iterable[str]) -> str:
    """Of the options that a student was trained with, those that its export needs: encoder and data."""
    words = [
        f"encoder{word.removeprefix('identity')}" for word in options if word.startswith(("identity=", "identity."))
    ]
    given = [word for word in options if word.startswith(("data=", "data.root=", "data.stored_frame="))]
    return repeated([*given, *words])


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
    last value of `metric`. Raises UserError if that was never logged, or if the trainer does not fit.
    """
    check_trainer(trainer)
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "teacher.safetensors"
        module.save(path, trainer.global_step / trainer.max_steps)
        (out / "summary.json").write_text(json.dumps(metrics, indent=2) + "\n")
        Console().print(metric_table(f"held-out people, after {trainer.global_step} steps", metrics, SWAPPER_MEANING))
        print_places({"teacher": path, "snapshots": out / "snapshots", **places(out)})
        print(f"{'licence':<11}{module.licence} (identity encoder: {module.encoder.licence})")
        print(f"next: idn train {repeated(options, SHARED)}teacher=own teacher.weights={path}")
    if metric not in metrics:
        raise UserError(f"metric={metric} was not logged: choose one of {', '.join(sorted(metrics)) or 'none'}")
    return metrics[metric]


def fit_recogniser(
    trainer: pl.Trainer,
    module: RecognitionModule,
    data: pl.LightningDataModule,
    out: Path,
    resume: str | None,
    licence: str,
    command: str,
) -> float:
    """Train an identity encoder, save it as `out/identity_encoder.safetensors`, and return its verification accuracy.

    licence: of the weights. command: the line that trained them, kept in the file.
    """
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "identity_encoder.safetensors"
        save_trained(module.network, path, licence, command, metrics)
        for key, value in metrics.items():
            print(f"{key.removeprefix('val/'):<16}{value:.4f}")
        print(f"encoder         {path}")
        print(f"next: idn train identity.weights={path}")
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

    kind: what its labels are. record: of the teacher whose pictures it saw. command: the line that trained it.
    """
    metrics = complete(trainer, module, data, out, resume)
    if trainer.is_global_zero:
        path = out / "scorer.safetensors"
        notes = ScorerNotes(kind=kind, **terms(record), command=command, metrics=metrics)
        save_scorer(module.network, path, notes)
        levels = [
            {name: value for name, value in level._asdict().items() if math.isfinite(value)} for level in module.levels
        ]
        summary = metrics | {"kind": kind, "teacher": record.name, "levels": levels}
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        summarise_scorer(metrics, module.levels, notes, trainer.global_step)
        print(f"scorer     {path}")
        print(f"next: idn train {repeated(command.split(), SHARED)}reweight=identity_quality reweight.scorer={path}")
    return metrics["val/loss"]


def summarise_scorer(metrics: Mapping[str, float], levels: Sequence[Level], notes: ScorerNotes, steps: int) -> None:
    """Print the last validation: as a whole, then by grade (see `idn.quality.by_grade`)."""
    title = f"{notes.kind} of {notes.teacher}, held-out people, after {steps} steps"
    table = metric_table(title, metrics, SCORER_MEANING)
    each = Table(title=f"grade: {GRADES[notes.kind]}", title_justify="left")
    for name in ("grade", "mean label", "mean score", "mean error"):
        each.add_column(name, justify="right")
    for grade, label, score, error in levels:
        known = f"{error:.4f}" if math.isfinite(error) else "unknown"
        each.add_row(f"{grade:.3f}", f"{label:.3f}", f"{score:.3f}", known)
    Console().print(table, each)
