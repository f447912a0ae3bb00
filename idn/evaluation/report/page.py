"""The HTML report: one file that opens without a network."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from idn.evaluation.parts import SIDE, Parts
from idn.evaluation.report.charts import chart, colour, distributions
from idn.evaluation.report.examples import best_median_worst, failures, identity_by_background
from idn.evaluation.report.summary import Judged
from idn.evaluation.report.table import gaps, short
from idn.files.atomic import atomic_write

PAGE = "report.html"
"""Name of the page in the folder of an evaluation."""
_RANKED = ("identity", "feature_gain", "psnr_teacher")
"""Metrics by which pairs are ranked to be shown."""


def write_page(judged: Judged, summary: Mapping[str, Any]) -> Path:
    """Write the page and return its path."""
    files = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=files, autoescape=True, undefined=StrictUndefined).get_template("report.html.jinja")
    text = template.render(
        summary=summary,
        gaps=gaps(summary),
        methods=[{**method, "colour": colour(k)} for k, method in enumerate(summary["methods"])],
        short=short,
        charts=_charts(judged),
        curve=Markup(chart(identity_by_background(judged), "PSNR outside the face, dB", "identity", dots=True)),
        columns=["source", "target", *judged.names],
        side=SIDE,
        examples=_examples(judged),
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


def _examples(judged: Judged) -> list[dict[str, Any]]:
    """By method, its ranked pairs and its failures, with pictures."""
    parts = Parts(judged.folder)

    def pictures(numbers: Sequence[int]) -> list[tuple[str, str]]:
        found = []
        for number in numbers:
            encoded = b64encode(parts.strip(*divmod(number, judged.batch))).decode()
            found.append((judged.pairs[number], f"data:image/webp;base64,{encoded}"))
        return found

    metric = next((name for name in _RANKED if any(m.name == name for m in judged.metrics)), None)
    return [
        {
            "name": name,
            "metric": metric,
            "ranked": {}
            if metric is None
            else {kind: pictures(numbers) for kind, numbers in best_median_worst(judged, name, metric).items()},
            "failures": [(failure, pictures(failure.shown)) for failure in failures(judged, name)],
        }
        for name in judged.names
    ]
