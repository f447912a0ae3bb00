"""What a run says when it has reached its end: how good it became, where everything is, and what to do next."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from rich.table import Table

from idn.reweighting.scorer import ScorerNotes
from idn.training.modules.adversarial import SwapperModule
from idn.training.modules.quality import Level
from idn.training.summary import SHARED, command, metric_table, places, print_places

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


def tell_student(
    metrics: Mapping[str, float], out: Path, path: Path, trainer: pl.Trainer, options: Sequence[str]
) -> None:
    """Of a distillation. metrics: of the last validation. path: of the student. options: what the user typed."""
    Console().print(metric_table(f"held-out people, after {trainer.global_step} steps", metrics, MEANING))
    print_places({"student": path, **places(out)})
    again = [word for word in options if not word.startswith(("resume=", "trainer.max_steps="))]
    again += [f"resume={out / 'checkpoints' / 'last.ckpt'}", f"trainer.max_steps={2 * trainer.max_steps}"]
    plain = not any(word.startswith(("experiment=", "teacher=", "data=")) for word in options)
    longer = "   or the long run: idn train experiment=procedural_full" if plain else ""
    phone = [*_for_export(options), f"weights={path}", "source=none", f"out={out / 'export'}"]
    print(f"to a phone: {command('export', *phone)}")
    print(f"next: {command('train', *again)}{longer}")


def _for_export(options: Sequence[str]) -> list[str]:
    """Of the options that a student was trained with, those that its export needs: data and encoder."""
    given = [
        word for word in options if word.startswith(("data=", "data.root=", "data.stored_template=", "data.layout="))
    ]
    encoder = [word for word in options if word.startswith(("encoder=", "encoder."))]
    return [*given, *encoder]


def tell_swapper(
    metrics: Mapping[str, float], out: Path, path: Path, module: SwapperModule, options: Sequence[str]
) -> None:
    """Of a swapper of one's own. Arguments as in `tell_student`."""
    title = f"held-out people, after {module.trainer.global_step} steps"
    Console().print(metric_table(title, metrics, SWAPPER_MEANING))
    print_places({"teacher": path, "snapshots": out / "snapshots", **places(out)})
    print(f"{'licence':<11}{module.licence} (identity encoder: {module.encoder.licence})")
    print(f"next: {command('train', *_shared(options), 'teacher=trained_here', f'teacher.weights={path}')}")


def tell_encoder(metrics: Mapping[str, float], path: Path) -> None:
    """Of an identity encoder. metrics: of the last validation. path: of the encoder."""
    for key, value in metrics.items():
        print(f"{key.removeprefix('val/'):<16}{value:.4f}")
    print(f"encoder         {path}")
    print(f"next: {command('train', f'encoder.weights={path}')}")


def tell_scorer(notes: ScorerNotes, levels: Sequence[Level], path: Path, steps: int, options: Sequence[str]) -> None:
    """Of a quality scorer: the last validation as a whole, then by grade (see `idn.training.modules.quality.by_grade`)."""
    title = f"{notes.kind} of {notes.teacher}, held-out people, after {steps} steps"
    table = metric_table(title, notes.metrics, SCORER_MEANING)
    each = Table(title=f"grade: {GRADES[notes.kind]}", title_justify="left")
    for name in ("grade", "mean label", "mean score", "mean error"):
        each.add_column(name, justify="right")
    for grade, label, score, error in levels:
        known = f"{error:.4f}" if math.isfinite(error) else "unknown"
        each.add_row(f"{grade:.3f}", f"{label:.3f}", f"{score:.3f}", known)
    Console().print(table, each)
    print(f"scorer     {path}")
    print(f"next: {command('train', *_shared(options), 'reweight=identity_quality', f'reweight.scorer={path}')}")


def _shared(options: Sequence[str]) -> list[str]:
    """The options that a student must be given as well."""
    return [word for word in options if word.startswith(SHARED)]
