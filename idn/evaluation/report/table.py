"""Tables of an evaluation: on the terminal, and a row per pair and method as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from idn.evaluation.report.summary import Judged
from idn.files.atomic import atomic_write

_OF_RESULTS = {"extra": "passed over, of other pairs", "resized": "of another size, resized"}
"""What is counted of results made elsewhere, and how it is said."""
ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}
"""Better direction of a metric -> how it is shown."""
_UNLIMITED = 100_000
"""Characters of a terminal in which everything has room."""


def print_summary(summary: Mapping[str, Any]) -> None:
    """One row per metric, one column per method, with intervals, and every sentence that the protocol says."""
    protocol = summary["protocol"]
    title = (
        f"{protocol['name']}: {protocol['pairs']} pairs, {protocol['size']} px; judged by "
        f"{protocol['recogniser']['name']}; in brackets {summary['intervals']}"
    )
    heads = [
        f"{name} {ARROWS[metric['better']]}\n[dim]{metric['unit']}[/dim]" for name, metric in summary["metrics"].items()
    ]
    columns = {
        method["name"]: [cell(method["values"].get(name), protocol["pairs"]) for name in summary["metrics"]]
        for method in summary["methods"]
    }
    if any(method["problems"] for method in summary["methods"]):
        heads.append("no picture")
        for method in summary["methods"]:
            columns[method["name"]].append(str(sum(method["problems"].values()) or ""))
    console = Console()
    print_side_by_side(console, title, heads, columns)
    for sentence in protocol["said"]:
        console.print(f"! {sentence}", style="bold", markup=False, highlight=False)
    for sentence in gaps(summary):
        console.print(sentence, markup=False, highlight=False)
    for name, pairs in summary["not_separated"].items():
        console.print(
            f"{name} does not separate {'; '.join(' and '.join(pair) for pair in pairs)}", markup=False, highlight=False
        )


def print_side_by_side(
    console: Console, title: str, heads: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> None:
    """Print a table; one that is wider than the terminal goes on below, with further columns.

    heads: of the rows. columns: by name, a cell per row.
    """
    blocks: list[dict[str, Sequence[str]]] = [{}]
    for name, cells in columns.items():
        wider = _table(heads, blocks[-1] | {name: cells})
        unlimited = console.options.update(max_width=_UNLIMITED)
        if blocks[-1] and wider.__rich_measure__(console, unlimited).maximum > console.width:
            blocks.append({})
        blocks[-1][name] = cells
    console.print(title, highlight=False, markup=False)
    for block in blocks:
        console.print(_table(heads, block), crop=False)  # a single column may be wider still


def _table(heads: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_lines=False, pad_edge=False)
    table.add_column("metric", min_width=_longest(heads))
    for name, cells in columns.items():
        table.add_column(escape(name), justify="right", overflow="fold", min_width=_longest(cells))
    for row in zip(heads, *columns.values(), strict=True):
        table.add_row(*row)
    return table


def _longest(cells: Sequence[str]) -> int:
    """Characters of the longest line."""
    return max((len(line) for text in cells for line in Text.from_markup(text).plain.splitlines()), default=0)


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
