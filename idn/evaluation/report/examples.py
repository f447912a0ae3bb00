"""Pairs worth looking at: best, median and worst of a method, and failures by kind."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from idn.evaluation.metrics import goodness, metric_named
from idn.evaluation.report.summary import Judged, Values

SHOWN = 4
"""Pairs of a kind that are shown."""
BINS = 8
"""Points of the curve of identity against background."""


class Failure(NamedTuple):
    """A way in which a swap can fail."""

    kind: str
    """For people."""
    count: int
    of: int
    """Pairs of which it can be told."""
    shown: list[int]
    """Numbers of some of them, the worst first."""


_LIMITS = (
    ("no face is found", "face_found", 0.5, True),
    ("another person: a stranger's source is nearer than the right one", "retrieval", 0.5, True),
    ("the head is turned by more than 10 degrees", "pose_error", 10.0, False),
    ("the expression moved by more than 15 % of the distance between the eyes", "expression_error", 15.0, False),
    ("the background is damaged: less than 25 dB", "psnr_background", 25.0, True),
    ("the face is soft: less than half of the fine detail", "sharpness_ratio", 0.5, True),
)
"""Kind, metric, limit, and whether values below it fail."""


def order(judged: Judged, method: str, metric: str) -> list[int]:
    """Numbers of the pairs of which the metric is known, the best first."""
    values, known = judged.column(method, metric), metric_named(metric)
    numbers = np.flatnonzero(np.isfinite(values)).tolist()
    return sorted(numbers, key=lambda number: -goodness(known, values[number]))


def best_median_worst(judged: Judged, method: str, metric: str, shown: int = SHOWN) -> dict[str, list[int]]:
    """Numbers of some pairs at both ends and in the middle of a metric's order."""
    ranked = order(judged, method, metric)
    middle = max(0, len(ranked) // 2 - shown // 2)
    return {
        "best": ranked[:shown],
        "median": ranked[middle : middle + shown],
        "worst": ranked[::-1][:shown],
    }


def failures(judged: Judged, method: str) -> list[Failure]:
    """Every kind of which there are any."""
    found = []
    by_problem: dict[str, list[int]] = {}
    for number, problem in enumerate(judged.problems[method]):
        if problem is not None:
            by_problem.setdefault(f"no picture: {problem}", []).append(number)
    for kind, numbers in by_problem.items():
        found.append(Failure(kind, len(numbers), len(judged.pairs), numbers[:SHOWN]))
    for kind, metric, limit, below in _LIMITS:
        values = judged.column(method, metric)
        found.append(_beyond(kind, values if below else -values, limit if below else -limit))
    gap = judged.column(method, "identity") - judged.column(method, "identity_target")
    found.append(_beyond("more like the target than like the source", gap, 0.0))
    return [failure for failure in found if failure.count]


def _beyond(kind: str, values: Values, limit: float) -> Failure:
    """Values below a limit, the lowest first."""
    numbers = [int(n) for n in np.argsort(np.where(np.isfinite(values), values, np.inf)) if values[n] < limit]
    return Failure(kind, len(numbers), int(np.isfinite(values).sum()), numbers[:SHOWN])


def identity_by_background(judged: Judged) -> Mapping[str, list[tuple[float, float]]]:
    """By method, mean identity in parts of the pairs that changed the background alike: (dB, cosine).

    A method that leaves every background as it is stands at the right end of what the others reach.
    """
    most = max((float(np.nanmax(c)) for c in _varied(judged, "psnr_background")), default=float("inf"))
    lines: dict[str, list[tuple[float, float]]] = {}
    for name in judged.names:
        kept, who = judged.column(name, "psnr_background"), judged.column(name, "identity")
        numbers = np.flatnonzero(np.isfinite(kept) & np.isfinite(who))
        ranked = numbers[np.argsort(kept[numbers])]
        parts = [part for part in np.array_split(ranked, min(BINS, max(1, len(ranked) // 5))) if len(part)]
        lines[name] = [(min(most, float(kept[part].mean())), float(who[part].mean())) for part in parts]
    return lines


def _varied(judged: Judged, metric: str) -> list[Values]:
    """Columns of the methods in which a metric differs from pair to pair."""
    columns = (judged.column(name, metric) for name in judged.names)
    return [column for column in columns if np.isfinite(column).any() and np.nanstd(column) > 0]
