"""Report at the end of a training run: metrics, where everything is; and its summary.json."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.table import Table

from idn.files.atomic import atomic_write
from idn.metrics.metric import Metric, known
from idn.metrics.scoring import SCORER_METRICS
from idn.metrics.swaps import SWAP_METRICS
from idn.metrics.verification import VERIFICATION_METRICS
from idn.reweighting.scorer import ScorerNotes
from idn.training.modules.quality import Level
from idn.training.modules.swap_training import SwapTraining

GRADES = {"snapshots": "completed share of the teacher's training", "degradations": "1 - strength of the damage"}
"""What a grade means, by kind of scorer."""


def print_student_report(metrics: Mapping[str, float], out: Path, path: Path, trainer: pl.Trainer) -> None:
    """Of a student.

    metrics: of the last validation, by `val/NAME`.
    out: folder of the run.
    path: of the student.
    """
    Console().print(_metric_table(f"held-out people, after {trainer.global_step} steps", metrics, SWAP_METRICS))
    _warn_of_failure("student", metrics)
    _print_places({"student": path, **_places(out)})


def print_teacher_report(metrics: Mapping[str, float], out: Path, path: Path, module: SwapTraining) -> None:
    """Of a teacher. module: its training. The other arguments as in `print_student_report`."""
    title = f"held-out people, after {module.trainer.global_step} steps"
    Console().print(_metric_table(title, metrics, SWAP_METRICS))
    _warn_of_failure("teacher", metrics)
    _print_places({"teacher": path, "snapshots": out / "snapshots", **_places(out)})
    licence = module.notes["licence"]
    print(f"{'licence':<11}{licence} (identity encoder: {module.encoder.licence})")


def print_encoder_report(metrics: Mapping[str, float], path: Path) -> None:
    """Of an identity encoder. metrics: of the last validation. path: of the encoder."""
    Console().print(_metric_table("pairs of held-out people", metrics, VERIFICATION_METRICS))
    _print_places({"encoder": path})


def print_scorer_report(notes: ScorerNotes, levels: Sequence[Level], path: Path, steps: int) -> None:
    """Of a quality scorer: the last validation as a whole, then by grade (see `by_grade`)."""
    title = f"{notes.kind} of {notes.teacher}, held-out people, after {steps} steps"
    table = _metric_table(title, notes.metrics, SCORER_METRICS)
    each = Table(title=f"grade: {GRADES[notes.kind]}", title_justify="left")
    for name in ("grade", "mean label", "mean score", "mean error"):
        each.add_column(name, justify="right")
    for grade, label, score, error in levels:
        known = f"{error:.4f}" if math.isfinite(error) else "unknown"
        each.add_row(f"{grade:.3f}", f"{label:.3f}", f"{score:.3f}", known)
    Console().print(table, each)
    _print_places({"scorer": path})


def _warn_of_failure(what: str, metrics: Mapping[str, float]) -> None:
    """Say loudly that a network swaps worse than the untouched target does, if it does."""
    gain = metrics.get("val/swap_gain", 0.0)
    identity, untouched = (metrics.get(f"val/identity_{name}", math.nan) for name in ("swap", "target"))
    faults = [f"its swap gain is {gain:.2f} dB, below 0"] if gain < 0 else []
    if identity <= untouched:
        faults.append(f"its pictures are no more like the sources ({identity:.3f}) than the targets ({untouched:.3f})")
    if faults:
        print(
            f"WARNING: this {what} does not swap yet: {' and '.join(faults)}. Train longer; if it stays so, look at "
            "the pictures, the data and the weights of the losses",
            file=sys.stderr,
        )


def _metric_table(title: str, values: Mapping[str, float], metrics: Sequence[Metric]) -> Table:
    """A row for every metric that has a value, in their order. values: by `val/NAME`."""
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    for metric, value in known(metrics, values):
        table.add_row(metric.name, f"{value:.4f}", metric.meaning)
    return table


def write_summary(out: Path, content: Mapping[str, Any]) -> None:
    """Write what a run reached as `out/summary.json`."""
    with atomic_write(out / "summary.json") as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n")


def _places(out: Path) -> dict[str, Path]:
    """What a run leaves behind besides its result."""
    picture = max((out / "pictures").glob("*.png"), default=out / "pictures")
    last = out / "checkpoints" / "last.ckpt"
    return {"checkpoint": last, "metrics": out / "metrics" / "metrics.csv", "picture": picture}


def _print_places(paths: Mapping[str, Path]) -> None:
    """One line for every path that exists; of a checkpoint, how large it is."""
    for name, path in paths.items():
        if path.exists():
            size = f" ({path.stat().st_size / 1e9:.2f} GB, with the optimizer)" if name == "checkpoint" else ""
            print(f"{name:<11}{path}{size}")
