"""What a run says when it has reached its end: how good it became, where everything is, and what to do next."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from rich.table import Table

from idn.metrics.scoring import SCORER_METRICS
from idn.metrics.swaps import SWAP_METRICS
from idn.reweighting.scorer import ScorerNotes
from idn.training.modules.quality import Level
from idn.training.modules.swap_training import SwapTraining
from idn.training.summary import SHARED, command, metric_table, places, print_places

GRADES = {"snapshots": "completed share of the teacher's training", "degradations": "1 - strength of the damage"}
"""What a grade means, by kind of scorer."""


def tell_student(
    metrics: Mapping[str, float], out: Path, path: Path, trainer: pl.Trainer, options: Sequence[str]
) -> None:
    """Of a distillation. metrics: of the last validation. path: of the student. options: what the user typed."""
    Console().print(metric_table(f"held-out people, after {trainer.global_step} steps", metrics, SWAP_METRICS))
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
    metrics: Mapping[str, float], out: Path, path: Path, module: SwapTraining, options: Sequence[str]
) -> None:
    """Of a swapper of one's own. Arguments as in `tell_student`."""
    title = f"held-out people, after {module.trainer.global_step} steps"
    Console().print(metric_table(title, metrics, SWAP_METRICS))
    print_places({"teacher": path, "snapshots": out / "snapshots", **places(out)})
    licence = module.notes["licence"]
    print(f"{'licence':<11}{licence} (identity encoder: {module.encoder.licence})")
    print(f"next: {command('train', *_shared(options), 'teacher=trained_here', f'teacher.weights={path}')}")


def tell_encoder(metrics: Mapping[str, float], path: Path) -> None:
    """Of an identity encoder. metrics: of the last validation. path: of the encoder."""
    for key, value in metrics.items():
        print(f"{key.removeprefix('val/'):<16}{value:.4f}")
    print(f"encoder         {path}")
    print(f"next: {command('train', f'encoder.weights={path}')}")


def tell_scorer(notes: ScorerNotes, levels: Sequence[Level], path: Path, steps: int, options: Sequence[str]) -> None:
    """Of a quality scorer: the last validation as a whole, then by grade (see `by_grade`)."""
    title = f"{notes.kind} of {notes.teacher}, held-out people, after {steps} steps"
    table = metric_table(title, notes.metrics, SCORER_METRICS)
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
