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

_OF_RESULTS = {"extra": "passed over, of other pairs", "resized": "of another size, resized"}
"""What is counted of results made elsewhere, and how it is said."""
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
    for sentence in gaps(summary):
        console.print(sentence, markup=False, highlight=False)
    for name, pairs in summary["not_separated"].items():
        console.print(
            f"{name} does not separate {'; '.join(' and '.join(pair) for pair in pairs)}", markup=False, highlight=False
        )


def gaps(summary: Mapping[str, Any]) -> list[str]:
    """What the numbers are not about: pictures and pairs that are left out, metrics that are not measured, pairs of a
    method without a picture, and pictures that nobody asked for or that were resized."""
    protocol = summary["protocol"]
    said = [f"left out: {count} {reason}" for reason, count in protocol["left_out"].items()]
    said += protocol["not_measured"]
    for method in summary["methods"]:
        found = [f"{count} without a picture ({problem})" for problem, count in method["problems"].items()]
        found += [f"{method[key]} {words}" for key, words in _OF_RESULTS.items() if method.get(key)]
        said += [f"{method['name']}: {', '.join(found)}"] if found else []
    return said


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
