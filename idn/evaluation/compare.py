"""Comparing evaluations of one protocol: side by side, and which differences are larger than chance (paired
bootstrap)."""

import csv
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from idn.errors import UserError
from idn.evaluation.intervals import LEVEL, Bootstrap, Interval
from idn.evaluation.metrics import EvaluationMetric
from idn.evaluation.report.summary import Judged, Values, read_judged
from idn.evaluation.report.table import ARROWS, print_side_by_side, short
from idn.files.atomic import atomic_write

_OF_TEACHER = ("psnr_teacher", "ssim_teacher")
"""Metrics that depend on the first teacher."""
_OF_RIGHT = ("detail_correlation", "feature_gain")
"""Those that do where nobody knows the exact swap."""


class Column(NamedTuple):
    """A method of one report."""

    report: str
    method: str
    judged: Judged

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.report}: {self.method}"

    def values(self, metric: EvaluationMetric) -> Values:
        """(P,) with NaN where nothing is known."""
        return self.judged.column(self.method, metric.name)


class Compared(NamedTuple):
    """One metric of one method, and what it is compared with."""

    metric: EvaluationMetric
    column: Column
    mean: Interval
    against: Column | None
    """None for what the others are compared with."""
    difference: Interval | None

    @property
    def larger_than_chance(self) -> bool:
        """Whether the difference lies on one side of 0, wherever other people would put it."""
        return self.difference is not None and self.difference.excludes(0.0)


def compare(folders: Sequence[Path], csv_path: Path | None = None) -> list[Compared]:
    """Put the methods of several evaluations side by side and print the table.

    folders: that `idn eval` wrote. A method is compared with that of its name in the first; one whose name is not
        there, with the first student there, or the first method if there is none.
    csv_path: the table once more.
    Raises UserError for fewer than two, for a folder without a finished evaluation, and for different protocols.
    """
    if len(folders) < 2:
        raise UserError("two reports are the least that can be compared: give the folders that idn eval wrote")
    reports = dict(zip(_labels(folders), map(read_judged, folders), strict=True))
    _check_protocols(reports)
    columns = [Column(label, name, judged) for label, judged in reports.items() for name in judged.names]
    rows = _compared(columns, _comparable(list(reports.values())))
    _print(rows)
    for sentence in dict.fromkeys(said for row in rows for said in row.column.judged.protocol.said):
        print(f"! {sentence}")
    if csv_path is not None:
        _write(rows, csv_path)
    return rows


def _compared(columns: Sequence[Column], metrics: Sequence[EvaluationMetric]) -> list[Compared]:
    first = columns[0].judged
    draws = Bootstrap(first.people)
    students = [method["name"] for method in first.methods if method["kind"] != "teacher"]
    usual = next(column for column in columns if column.method == (students or first.names)[0])
    of_first = {column.method: column for column in columns if column.judged is first}
    rows = []
    for metric in metrics:
        for column in columns:
            other = of_first.get(column.method, usual) if column.judged is not first else None
            gap = None if other is None else draws.difference(column.values(metric), other.values(metric))
            rows.append(Compared(metric, column, draws.mean(column.values(metric)), other, gap))
    return rows


def _labels(folders: Sequence[Path]) -> list[str]:
    """As little of the paths as tells them apart. Raises UserError for one that is given twice."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise UserError("a report is given twice: give each once")
    depths = range(1, max(len(path.parts) for path in paths) + 1)
    every = (["/".join(path.parts[-depth:]) for path in paths] for depth in depths)
    return next(labels for labels in every if len(set(labels)) == len(labels))


def _check_protocols(reports: dict[str, Judged]) -> None:
    for (one, mine), (other, theirs) in combinations(reports.items(), 2):
        if found := mine.protocol.differences(theirs.protocol):
            raise UserError(
                f"{one} and {other} follow different protocols ({'; '.join(found)}): "
                "evaluate again with the same options"
            )


def _comparable(reports: Sequence[Judged]) -> list[EvaluationMetric]:
    """Metrics that all reports have and that mean the same in all. Says which were left out."""
    names = [{metric.name for metric in judged.metrics} for judged in reports]
    left_out = set.union(*names) - set.intersection(*names)
    teachers = [next((m for m in judged.methods if m["name"] == judged.teacher), None) for judged in reports]
    if any(teacher != teachers[0] for teacher in teachers):
        left_out |= {*_OF_TEACHER, *(() if "psnr_truth" in names[0] else _OF_RIGHT)} & set.union(*names)
    if left_out:
        print(f"not compared, because the reports have other teachers or methods: {', '.join(sorted(left_out))}")
    return [metric for metric in reports[0].metrics if metric.name not in left_out]


def _print(rows: Sequence[Compared]) -> None:
    """The table, without columns that are equal to what they are compared with."""
    differ = {row.column.name for row in rows if row.against is None or _differs(row)}
    shown = [row for row in rows if row.column.name in differ]
    title = f"differences to {rows[0].column.report}; * marks those beyond chance ({LEVEL:.0%}, paired bootstrap)"
    metrics = list(dict.fromkeys(row.metric for row in shown))
    heads = [f"{metric.name} {ARROWS[metric.better]}\n[dim]{metric.unit}[/dim]" for metric in metrics]
    columns: dict[str, list[str]] = {}
    for row in shown:
        columns.setdefault(row.column.name, []).append(_cell(row))
    print_side_by_side(Console(), title, heads, columns)
    for row in rows:
        if row.metric is rows[0].metric and row.against is not None:
            if row.column.name not in differ:
                print(f"{row.column.name} equals {row.against.name}")
            elif row.against.method != row.column.method:
                print(f"{row.column.name} is compared with {row.against.name}")


def _differs(row: Compared) -> bool:
    return row.difference is not None and bool(row.difference.count) and any(row.difference[:3])


def _cell(row: Compared) -> str:
    if not row.mean.count:
        return ""
    said = short(row.mean.value)
    if row.difference is None or not row.difference.count:
        return said
    gap = row.difference
    star = "*" if row.larger_than_chance else ""
    return f"{said}\n{gap.value:+.3g}{star}\n({short(gap.low)} to {short(gap.high)})"


def _write(rows: Sequence[Compared], path: Path) -> None:
    heads = ("metric", "report", "method", "value", "low", "high", "against", "difference", "difference_low")
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*heads, "difference_high", "larger_than_chance"))
        for row in rows:
            gap = ("", "", "") if row.difference is None else row.difference[:3]
            against = "" if row.against is None else row.against.name
            beyond = "" if row.difference is None else row.larger_than_chance
            writer.writerow(
                (row.metric.name, row.column.report, row.column.method, *row.mean[:3], against, *gap, beyond)
            )
    print(f"table: {path}")
