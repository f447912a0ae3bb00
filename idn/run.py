"""One training run from start to summary: fit, save what was learned, say where it is and what to do next."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

import idn
from idn.distill import DistillModule
from idn.errors import UserError
from idn.identity.trained import save_trained
from idn.recognition import RecognitionModule

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


def lineage(module: DistillModule) -> dict[str, str]:
    """Where a student comes from, for its file: teacher and encoder with their licences."""
    record = module.teacher.record
    commercial = {True: "allowed", False: "forbidden", None: "unknown"}[record.commercial]
    return {
        "teacher": record.name,
        "teacher_licence": record.licence,
        "teacher_commercial_use": commercial,
        "identity_encoder": module.encoder.name,
        "identity_encoder_licence": module.encoder.licence,
        "trained_with": f"idn-distill {idn.__version__}",
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
    data: pl.LightningDataModule,
    out: Path,
    resume: str | None,
    metric: str,
    options: Sequence[str] = (),
) -> float:
    """Distil, save the averaged student as `out/student.safetensors` and print what was reached.

    options: what the user typed, repeated in the command to try next. Returns the last value of `metric`. Raises
    UserError if that was never logged.
    """
    metrics = complete(trainer, module, data, out, resume)
    if metric not in metrics:
        raise UserError(f"metric={metric} was not logged: choose one of {', '.join(sorted(metrics)) or 'none'}")
    if trainer.is_global_zero:
        path = out / "student.safetensors"
        notes = {"steps": str(trainer.global_step), "metrics": json.dumps(metrics)}
        module.ema.network.save(path, lineage(module) | notes)
        (out / "summary.json").write_text(json.dumps(metrics, indent=2) + "\n")
        summarise(metrics, out, path, trainer, options)
    return metrics[metric]


def summarise(
    metrics: Mapping[str, float], out: Path, student: Path, trainer: pl.Trainer, options: Sequence[str]
) -> None:
    """Print the table of the last validation, then where everything is and what to try next."""
    console = Console()
    table = Table(title=f"held-out people, after {trainer.global_step} steps", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    for key, meaning in MEANING.items():
        if key in metrics:
            table.add_row(key.removeprefix("val/"), f"{metrics[key]:.4f}", meaning)
    console.print(table)
    picture = max((out / "pictures").glob("*.png"), default=None)
    checkpoint = out / "checkpoints" / "last.ckpt"
    for name, path in (
        ("student", student),
        ("checkpoint", checkpoint),
        ("metrics", out / "metrics" / "metrics.csv"),
        ("picture", picture),
    ):
        if path is not None and path.exists():
            print(f"{name:<11}{path}")
    kept = "".join(f"{word} " for word in options if not word.startswith(("resume=", "trainer.max_steps=")))
    print(
        f"next: idn train {kept}resume={checkpoint} trainer.max_steps={2 * trainer.max_steps}"
        "   or the long run: idn train experiment=procedural_full"
    )


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
