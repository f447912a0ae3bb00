"""Table of a sweep: what was varied, what was reached, on the terminal and as CSV."""

import csv
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from idn.files.atomic import atomic_write
from idn.metrics.compared import METRICS
from idn.sweeps.outcomes import Outcome, varied
from idn.sweeps.ranking import best, objectives, ranked

_SHOWN = (("val/swap_gain",), ("val/identity_swap",), ("val/psnr_truth", "val/psnr_teacher"))
"""Metrics that a table shows beside the objectives: of each group, the first that is known."""

_WIDE = 160
"""Columns of a table that no terminal shows."""


def ordered(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """All runs: the finished ones, the best first; then those that others left behind, failed, or have not ended."""
    order = ("hopeless", "failed", "unfinished")
    rest = [one for one in outcomes if one.state != "finished"]
    return [*ranked(outcomes), *sorted(rest, key=lambda one: order.index(one.state))]


def columns(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Key -> head of the metrics that a table of these runs shows: the objectives first."""
    known = {key for one in outcomes for key in one.values}
    others = [next((key for key in group if key in known), None) for group in _SHOWN]
    return {key: head(key) for key in dict.fromkeys((*objectives(outcomes), *others)) if key is not None}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Option -> as much of the end of its name as no other one has, and no column of a metric."""
    found, taken = {}, {metric.column for metric in METRICS.values()}
    for name in names:
        parts = name.split(".")
        ends = [".".join(parts[-k:]) for k in range(1, len(parts) + 1)]
        alone = [end for end in ends if end not in taken and sum(f".{n}".endswith(f".{end}") for n in names) == 1]
        found[name] = next(iter(alone), name)
    return found


def head(key: str) -> str:
    """Of the column of a metric."""
    metric = METRICS.get(key)
    return metric.column if metric is not None and metric.column else key.partition("/")[2].replace("_", " ")


def number(value: float | None) -> str:
    """A metric as a table shows it: large counts with their unit."""
    if value is None:
        return ""
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.3f}{unit}"
    return f"{value:.3f}"


def brief(value: str) -> str:
    """The value of an option as a table shows it: of a number, four figures."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def winner(outcomes: Sequence[Outcome]) -> str | None:
    """The command that makes the best run once more, None if none has ended."""
    found = best(outcomes)
    return shlex.join(["idn", *found[0].command]) if found else None


def print_sweep(outcomes: Sequence[Outcome]) -> None:
    """Print a row for every run, and the winner's command."""
    table = Table(title=f"{len(outcomes)} runs", title_justify="left")
    names, heads, leading = varied(outcomes), columns(outcomes), best(outcomes)
    table.add_column("run", justify="right")
    for name in short_names(names).values():
        table.add_column(escape(name), justify="right")
    for text in (*heads.values(), "minutes"):
        table.add_column(text, justify="right")
    table.add_column("state")
    for one in ordered(outcomes):
        options = [escape(brief(one.choices.get(name, ""))) for name in names]
        values = [number(one.values.get(key)) for key in heads]
        state = "best" if one in leading else "" if one.state == "finished" else one.state
        table.add_row(one.folder, *options, *values, f"{one.minutes:.1f}", state)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE)
    console.print(table)
    if (command := winner(outcomes)) is not None:
        print(f"the best once more: {command}")


def write_csv(outcomes: Sequence[Outcome], path: Path) -> None:
    """A row for every run, with all its metrics."""
    names = varied(outcomes)
    keys = sorted({key for one in outcomes for key in one.values})
    with atomic_write(path) as draft, draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *names, *keys, "minutes", "state", "reason", "command"])
        for one in ordered(outcomes):
            options = [one.choices.get(name, "") for name in names]
            values = [one.values.get(key, "") for key in keys]
            command = shlex.join(["idn", *one.command])
            writer.writerow([one.folder, *options, *values, one.minutes, one.state, one.reason or "", command])
