"""The HTML report: one file that opens without a network."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from idn.evaluation.parts import SIDE, Parts
from idn.evaluation.report.charts import chart, colour, distributions
from idn.evaluation.report.examples import SHOWN, best_median_worst, failures, identity_by_background
from idn.evaluation.report.summary import Judged
from idn.evaluation.report.table import ARROWS, gaps, short
from idn.files.atomic import atomic_write

PAGE = "report.html"
"""Name of the page in the folder of an evaluation."""
_RANKED = ("identity", "feature_gain", "psnr_teacher")
"""Metrics by which pairs are ranked to be shown."""
_MOST = 6_000_000
"""Bytes of all pictures together, at most; as text they are a third larger."""


class _Shown(NamedTuple):
    """A pair that the page shows."""

    number: int
    name: str
    value: str
    """Of the metric by which the method's pairs are ranked; empty where it is not known."""


def write_page(judged: Judged, summary: Mapping[str, Any]) -> Path:
    """Write the page and return its path."""
    files = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=files, autoescape=True, undefined=StrictUndefined).get_template("report.html.jinja")
    examples, pictures = _examples(judged, Parts(judged.folder))
    text = template.render(
        summary=summary,
        gaps=gaps(summary),
        arrows=ARROWS,
        methods=[{**method, "colour": colour(k)} for k, method in enumerate(summary["methods"])],
        short=short,
        charts=_charts(judged),
        curve=Markup(chart(identity_by_background(judged), "PSNR outside the face, dB", "identity", dots=True)),
        columns=["source", "target", *judged.names],
        side=SIDE,
        examples=examples,
        pictures=pictures,
        seconds=sorted(summary["seconds"].items(), key=lambda item: -item[1]),
    )
    path = judged.folder / PAGE
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def _charts(judged: Judged) -> list[tuple[str, Markup]]:
    """Name and distributions of every metric per pair."""
    found = []
    for metric in judged.metrics:
        values = {name: judged.column(name, metric.name) for name in judged.names}
        found.append((metric.name, Markup(distributions(values, metric.unit))))
    return found


def _examples(judged: Judged, parts: Parts) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """By method, its ranked pairs and its failures; and the pictures of all pairs among them, by number, each once.

    Fewer of every kind are shown where their pictures would make the page too large to be sent around.
    """
    for shown in range(SHOWN, 0, -1):
        found = _chosen(judged, shown)
        numbers = {pair.number for method in found for _, pairs in method["groups"] for pair in pairs}
        strips = {number: parts.strip(*divmod(number, judged.batch)) for number in sorted(numbers)}
        if sum(map(len, strips.values())) <= _MOST:
            break
    return found, {number: f"data:image/webp;base64,{b64encode(strip).decode()}" for number, strip in strips.items()}


def _chosen(judged: Judged, shown: int) -> list[dict[str, Any]]:
    """By method, the pairs to show: at most `shown` of each kind."""
    metric = next((name for name in _RANKED if any(m.name == name for m in judged.metrics)), None)

    def pairs(name: str, numbers: Sequence[int]) -> list[_Shown]:
        values = judged.column(name, metric) if metric else np.full(len(judged.pairs), np.nan)
        return [_Shown(n, judged.pairs[n], short(values[n]) if np.isfinite(values[n]) else "") for n in numbers]

    found = []
    for name in judged.names:
        ranked = {} if metric is None else best_median_worst(judged, name, metric, shown)
        kinds = [(kind, pairs(name, numbers)) for kind, numbers in ranked.items()]
        fails = [(failure, pairs(name, failure.shown[:shown])) for failure in failures(judged, name)]
        method = {"name": name, "metric": metric, "ranked": kinds, "failures": fails}
        found.append({**method, "groups": [*kinds, *fails]})
    return found
