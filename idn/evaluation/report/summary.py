"""Summary of judged pairs: per metric and method a number with its interval, and what a table or a page asks for."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idn.errors import DamagedFile, MissingFile, UserError
from idn.evaluation.intervals import LEVEL, RESAMPLES, Bootstrap, Interval
from idn.evaluation.looking import looking_seconds, target_features
from idn.evaluation.metrics import METRICS, EvaluationMetric, goodness
from idn.evaluation.parts import Parts
from idn.evaluation.population import fid, kid
from idn.evaluation.protocol import Protocol
from idn.evaluation.record import Record
from idn.files.atomic import atomic_write

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """All that was judged, in memory: numbers, no pictures.

    folder: of the evaluation.
    protocol: see `Protocol`.
    methods: what `methods.json` says of each, in order.
    teacher: name of the one that the others are compared with.
    batch: pairs per chunk.
    pairs, people: names of the pairs' results and of the people of their sources, (P,).
    values: by method and metric, (P,) with NaN where nothing is known.
    problems: by method and pair, why there is no picture.
    """

    folder: Path
    protocol: Protocol
    methods: Sequence[Mapping[str, Any]]
    teacher: str | None
    batch: int
    pairs: Sequence[str]
    people: Sequence[str]
    targets: Sequence[str]
    values: Mapping[str, Mapping[str, Values]]
    problems: Mapping[str, Sequence[str | None]]

    @property
    def names(self) -> list[str]:
        """Of the methods."""
        return [method["name"] for method in self.methods]

    @property
    def chunks(self) -> int:
        """How many parts there are."""
        return -(-len(self.pairs) // self.batch)

    @property
    def metrics(self) -> list[EvaluationMetric]:
        """Those per pair of which something is known."""
        known = {name for mine in self.values.values() for name in mine}
        return [metric for metric in METRICS if metric.name in known]

    def column(self, method: str, metric: str) -> Values:
        """(P,) values, NaN where nothing is known."""
        return self.values[method].get(metric, np.full(len(self.pairs), np.nan))


def read_judged(folder: Path) -> Judged:
    """Everything that an evaluation has judged.

    Raises UserError for a folder without one or one that was stopped, and for files that are damaged.
    """
    protocol, record = Protocol.read(folder), Record.read(folder)
    if record is None:
        raise MissingFile(folder, "holds a protocol and no methods.json: evaluate again, into another folder")
    parts, count = Parts(folder), protocol.pairs
    chunks = -(-count // record.batch)
    if missing := sum(not parts.done(number) for number in range(chunks)):
        raise UserError(
            f"{folder} holds an evaluation that was stopped: {missing} of {chunks} parts are missing; give its command "
            "of `idn eval` again, which goes on"
        )
    names = [method["name"] for method in record.methods]
    values: dict[str, dict[str, Values]] = {name: {} for name in names}
    problems: dict[str, list[str | None]] = {name: [] for name in names}
    pairs: dict[str, tuple[str, str]] = {}
    for number in range(chunks):
        for row in parts.rows(number, names):
            mine, place = problems[row["method"]], len(problems[row["method"]])
            mine.append(row["problem"])
            pairs.setdefault(row["pair"], (row["source_person"], row["target_person"]))
            for name, value in row["values"].items():
                values[row["method"]].setdefault(name, np.full(count, np.nan))[place] = value
    if len(pairs) != count or any(len(mine) != count for mine in problems.values()):
        raise DamagedFile(folder, f"holds {len(pairs)} pairs, and its protocol says {count}: evaluate again")
    sources, targets = zip(*pairs.values(), strict=True)
    return Judged(
        folder, protocol, record.methods, record.teacher, record.batch, list(pairs), sources, targets, values, problems
    )


def summarise(judged: Judged) -> dict[str, Any]:
    """JSON-able: protocol, methods, metrics, and for each method its values, ratios and problems."""
    draws = Bootstrap(judged.people)
    table = {name: _of_method(judged, name, draws) for name in judged.names}
    return {
        "protocol": asdict(judged.protocol),
        "intervals": f"{LEVEL:.0%} of {RESAMPLES} bootstrap draws over {draws.people} people",
        "teacher": judged.teacher,
        "metrics": {
            metric.name: {"meaning": metric.meaning, "unit": metric.unit, "better": metric.better}
            for metric in METRICS
            if any(metric.name in row["values"] for row in table.values())
        },
        "methods": [{**dict(method), **table[method["name"]]} for method in judged.methods],
        "not_separated": not_separated(judged, draws) | _sets_not_separated(table),
        "seconds": _seconds(judged),
    }


def _of_method(judged: Judged, name: str, draws: Bootstrap) -> dict[str, Any]:
    found = {m.name: draws.mean(judged.column(name, m.name)) for m in judged.metrics if m.name in judged.values[name]}
    found |= _of_population(judged, name)
    ratios = {}
    if judged.teacher is not None:
        for metric in judged.metrics:
            theirs = judged.column(judged.teacher, metric.name)
            both = draws.ratio(judged.column(name, metric.name), theirs)
            if both.count and draws.mean(theirs).excludes(0.0):  # else the ratio says nothing
                ratios[metric.name] = both
    problems = Counter(problem for problem in judged.problems[name] if problem is not None)
    return {
        "values": {key: _plain(value) for key, value in found.items()},
        "to_teacher": {key: _plain(value) for key, value in ratios.items()},
        "problems": dict(problems),
    }


def _of_population(judged: Judged, name: str) -> dict[str, Interval]:
    features = Parts(judged.folder).features(judged.chunks, name)
    real = target_features(judged.folder)
    found = {"fid": fid(features, real), "kid": kid(features, real)}
    return {key: value for key, value in found.items() if value is not None}


def not_separated(judged: Judged, draws: Bootstrap) -> dict[str, list[list[str]]]:
    """By metric, the neighbours in its order of which it cannot tell the better one: their difference may be 0."""
    found: dict[str, list[list[str]]] = {}
    for metric in judged.metrics:
        means = {name: draws.mean(judged.column(name, metric.name)) for name in judged.names}
        known = [name for name in judged.names if means[name].count]
        order = sorted(known, key=lambda name, metric=metric: -goodness(metric, means[name].value))
        for one, other in pairwise(order):
            gap = draws.difference(judged.column(one, metric.name), judged.column(other, metric.name))
            if not gap.excludes(0.0):
                found.setdefault(metric.name, []).append([one, other])
    return found


def _seconds(judged: Judged) -> dict[str, float]:
    """What took how long: the pairs before any method, and the parts of judging."""
    found = {"looking first": looking_seconds(judged.folder), **Parts(judged.folder).seconds(judged.chunks)}
    return {name: round(value, 3) for name, value in found.items()}


def _sets_not_separated(table: Mapping[str, Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    """The same of `kid`, which has an interval and no value per pair: neighbours whose intervals meet."""
    known = [(name, row["values"]["kid"]) for name, row in table.items() if "kid" in row["values"]]
    order = pairwise(sorted(known, key=lambda item: item[1]["value"]))
    found = [[one, other] for (one, mine), (other, theirs) in order if mine["high"] >= theirs["low"]]
    return {"kid": found} if found else {}


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """metrics.json of an evaluation. Returns its path."""
    path = folder / "metrics.json"
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path


def _plain(interval: Interval) -> dict[str, float | int | None]:
    """JSON has no NaN: null."""
    rounded = {name: round(value, 6) for name, value in interval._asdict().items()}
    return {name: None if value != value else value for name, value in rounded.items()}
