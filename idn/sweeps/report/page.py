"""The page of a sweep: ranking, parallel coordinates, importance, curves, Pareto fronts; also while it still runs."""

import csv
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from idn.evaluation.report.charts import chart, colour
from idn.files.atomic import atomic_write
from idn.metrics.compared import METRICS, UNSCALED, maximised
from idn.sweeps.outcomes import Outcome, varied
from idn.sweeps.ranking import best, front, importance, objectives, ranked
from idn.sweeps.report.charts import Axis, Point, bars, parallel, points
from idn.sweeps.table import brief, columns, head, number, ordered, short_names, winner

PAGE, TABLE = "sweep.html", "sweep.csv"
"""Names of the page and of the table, in the folder of a sweep."""

_TIME = "deployed/milliseconds"
_COSTS = ("deployed/macs", _TIME)
"""What quality is weighed against."""

_CURVES = 8
"""Runs whose curves are drawn, the best of them."""


def write_page(outcomes: Sequence[Outcome], folder: Path, path: Path) -> None:
    """Write the page. folder: of the sweep, where the curves of its runs are. path: of the page."""
    files = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=files, autoescape=True, undefined=StrictUndefined).get_template("sweep.html.jinja")
    names, heads, keys = varied(outcomes), columns(outcomes), objectives(outcomes)
    rows = [_row(one, names, heads, best(outcomes)) for one in ordered(outcomes)]
    first = keys[0] if keys else None
    states = [one.state for one in outcomes]
    text = template.render(
        folder=folder.name,
        counts=[(state, states.count(state)) for state in ("finished", "hopeless", "failed", "unfinished")],
        names=short_names(names),
        heads=heads,
        better={key: "↑" if maximised(key) else "↓" for key in heads},
        meanings={key: METRICS[key].meaning for key in heads if key in METRICS},
        objectives=keys,
        rows=rows,
        reasons=_reasons(outcomes),
        winner=winner(outcomes),
        coordinates=Markup(_coordinates(outcomes, names, keys)),
        importance=Markup("" if first is None else bars(_named(importance(outcomes, first), names))),
        curves=_curves(outcomes, folder, first),
        fronts=[Markup(text) for text in _fronts(outcomes, first)],
    )
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _row(one: Outcome, names: Sequence[str], heads: Sequence[str], leading: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "run": one.folder,
        "options": [brief(one.choices.get(name, "")) for name in names],
        "values": [number(one.values.get(key)) for key in heads],
        "minutes": f"{one.minutes:.1f}",
        "state": "best" if one in leading else "" if one.state == "finished" else one.state,
        "reason": one.reason or "",
        "command": shlex.join(["idn", *one.command]),
    }


def _reasons(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """What is said of runs that came to no result, once for all of which it is true."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in ordered(outcomes):
        if one.reason:
            found.setdefault((one.state, one.reason), []).append(one.folder)
    return [
        {"runs": f"run{'s' if len(runs) > 1 else ''} {', '.join(runs)}", "state": state, "reason": reason}
        for (state, reason), runs in found.items()
    ]


def _named(shares: dict[str, float], names: Sequence[str]) -> list[tuple[str, float]]:
    short = short_names(names)
    return [(short[name], share) for name, share in shares.items()]


def _coordinates(outcomes: Sequence[Outcome], names: Sequence[str], keys: Sequence[str]) -> str:
    order, short = ranked(outcomes), short_names(names)
    axes = [Axis(short[name], [one.choices.get(name, "") for one in order]) for name in names]
    axes += [Axis(head(key), [str(one.values[key]) for one in order]) for key in keys]
    if len(order) < 2:  # a line alone compares nothing
        return ""
    return parallel(axes, [k / max(len(order) - 1, 1) for k in range(len(order))])


def _fronts(outcomes: Sequence[Outcome], first: str | None) -> list[str]:
    """Quality against each cost in which the runs differ."""
    drawn = []
    for cost in _COSTS if first is not None and first not in _COSTS else ():
        known = _alike(one for one in ranked(outcomes) if cost in one.values)
        leading = front(known, [first, cost])
        runs = [Point(one.folder, one.values[cost], one.values[first], one in leading) for one in known]
        if len({run.across for run in runs}) > 1:
            drawn.append(points(runs, head(cost), head(first)))
    return drawn


def _alike(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The same runs; those that leave networks of one size share the shortest time, as other work adds to any."""
    runs = list(outcomes)
    sizes = [tuple(one.values.get(key) for key in ("deployed/macs", "deployed/parameters")) for one in runs]
    fastest: dict[Any, float] = {}
    for size, one in zip(sizes, runs, strict=True):
        if (took := one.values.get(_TIME)) is not None:
            fastest[size] = min(took, fastest.get(size, took))
    return [
        replace(one, values=one.values | {_TIME: fastest[size]}) if size in fastest and None not in size else one
        for size, one in zip(sizes, runs, strict=True)
    ]


def _curves(outcomes: Sequence[Outcome], folder: Path, first: str | None) -> dict[str, Any]:
    """The metric over the steps, of the best runs and of those without an end, with the key of their colours."""
    found = {}
    for one in ordered(outcomes)[:_CURVES]:
        rows = _table(folder / one.folder / "metrics" / "metrics.csv")
        known = {key for row in rows for key, value in row.items() if value}
        key = first if first is not None else next((key for key in UNSCALED if key in known), None)
        line = [(float(row["step"]), float(row[key])) for row in rows if key and row.get(key)]
        if line := [point for point in line if math.isfinite(point[1])]:
            found[one.folder] = (key, line)
    keys = {key for key, _ in found.values()}
    label = head(keys.pop()) if len(keys) == 1 else "metric"
    drawn = chart({name: line for name, (_, line) in found.items()}, "step", label, dots=True)
    return {"svg": Markup(drawn), "colours": [(name, colour(k)) for k, name in enumerate(found)]}


def _table(path: Path) -> list[dict[str, str]]:
    """The rows of the metrics of a run, [] where there are none yet; a line that a kill cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and (row.get("step") or "").isdigit()]
