"""Parts of what a run says at its end: metrics, places, and the command to try next."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from idn.files.atomic import atomic_write
from idn.metrics.metric import Metric, known

SHARED = ("data", "encoder=", "encoder.", "seed")
"""Beginnings of options that a student must be given exactly as its teacher, scorer or cache was."""


def repeated(options: Iterable[str], beginnings: tuple[str, ...] = ("",)) -> str:
    """The options that begin so, ready to be pasted into a shell; a space follows each."""
    return "".join(f"{shlex.quote(word)} " for word in options if word.startswith(beginnings))


def command(verb: str, *options: str) -> str:
    """An `idn` command, ready to be pasted into a shell."""
    return shlex.join(["idn", verb, *options])


def metric_table(title: str, values: Mapping[str, float], metrics: Sequence[Metric]) -> Table:
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


def places(out: Path) -> dict[str, Path]:
    """What a run leaves behind besides its result."""
    picture = max((out / "pictures").glob("*.png"), default=out / "pictures")
    last = out / "checkpoints" / "last.ckpt"
    return {"checkpoint": last, "metrics": out / "metrics" / "metrics.csv", "picture": picture}


def print_places(paths: Mapping[str, Path]) -> None:
    """One line for every path that exists."""
    for name, path in paths.items():
        if path.exists():
            print(f"{name:<11}{path}")
