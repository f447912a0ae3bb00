"""Tables of an evaluation: on the terminal, and a row per pair and method as CSV."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from idn.evaluation.report.summary import Judged
from idn.files.atomic import atomic_write

NUMBER = 11
"""Characters of a column with numbers and intervals, at least."""


def print_summary(summary: Mapping[str, Any]) -> None:
    """One row per metric, one column per method, with intervals, and every sentence that the protocol says."""
    protocol = summary["protocol"]
    title = (
        f"{protocol['name']}: {protocol['pairs']} pairs, {protocol['size']} px; judged by "
        f"{protocol['recogniser']['name']}; in brackets {summary['intervals']}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("metric", min_width=max(map(len, summary["metrics"]), default=0) + len(" ↑"))
    for method in summary["methods"]:
        table.add_column(escape(method["name"]), justify="right", overflow="fold", min_width=NUMBER)
    for name, metric in summary["metrics"].items():
        arrow = {"higher": "↑", "lower": "↓", "one": "→ 1"}[metric["better"]]
        cells = [cell(method["values"].get(name), protocol["pairs"]) for method in summary["methods"]]
        table.add_row(f"{name} {arrow}\n[dim]{metric['unit']}[/dim]", *cells)
    if any(method["problems"] for method in summary["methods"]):
        table.add_row("no picture", *(str(sum(m["problems"].values()) or "") for m in summary["methods"]))
    console = Console()
    console.print(table, crop=False)  # wider than the terminal rather than without a method
    for sentence in protocol["said"]:
        console.print(f"! {sentence}", style="bold", markup=False, highlight=False)
    for sentence in (*protocol["not_measured"], *map(_gaps, filter(_has_gaps, summary["methods"]))):
        console.print(sentence, markup=False, highlight=False)
    for name, pairs in summary["not_separated"].items():
        console.print(
            f"{name} does not separate {'; '.join(' and '.join(pair) for pair in pairs)}", markup=False, highlight=False
        )


def _has_gaps(method: Mapping[str, Any]) -> bool:
    return bool(method["problems"] or method.get("extra"))


def _gaps(method: Mapping[str, Any]) -> str:
    """Why pairs of a method have no picture, and which of its pictures nobody asked for."""
    reasons = [f"{count} without a picture ({problem})" for problem, count in method["problems"].items()]
    if extra := method.get("extra"):
        reasons.append(f"{extra} pictures of other pairs, which are passed over")
    return f"{method['name']}: {', '.join(reasons)}"


def cell(value: Mapping[str, float] | None, pairs: int) -> str:
    """A value with its interval, and how many pairs it is of where that is not all of them."""
    if value is None or value["value"] is None:
        return ""
    said = short(value["value"])
    if value["low"] is not None:
        said += f"\n({short(value['low'])} to {short(value['high'])})"
    return said if value["count"] == pairs else f"{said}\nof {value['count']}"


def short(number: float) -> str:
    """Three figures that count, at most three behind the point."""
    size = abs(number)
    return (
        f"{number:.0f}"
        if size >= 1000
        else f"{number:.1f}"
        if size >= 100
        else f"{number:.2f}"
        if size >= 10
        else f"{number:.3f}"
    )


def write_pairs(judged: Judged) -> Path:
    """pairs.csv: a row per pair and method. Returns its path."""
    columns = ["pair", "source_person", "target_person", "method", "problem", *(m.name for m in judged.metrics)]
    rows = [
        [pair, source, target, name, judged.problems[name][number] or ""]
        + [_number(judged.column(name, metric.name)[number]) for metric in judged.metrics]
        for name in judged.names
        for number, (pair, source, target) in enumerate(zip(judged.pairs, judged.people, judged.targets, strict=True))
    ]
    path = judged.folder / "pairs.csv"
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
