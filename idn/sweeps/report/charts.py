"""Charts of a sweep as inline SVG: parallel coordinates, bars, points with a front; no script, no network."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from idn.sweeps.ranking import as_numbers
from idn.sweeps.table import brief, number

BEST, OTHER, WORST = "#0072b2", "#b9c4cc", "#d55e00"
"""Of the winners, of the others, of what is in between by their place."""
_WIDE, _HIGH, _TOP, _BOTTOM, _SIDE = 1100, 330, 46, 26, 80


class Axis(NamedTuple):
    """One of parallel coordinates."""

    name: str
    values: Sequence[str]
    """Of every run; "" where it is not known."""


def parallel(axes: Sequence[Axis], ranks: Sequence[float]) -> str:
    """A line per run across all axes; "" without axes or runs.

    ranks: of the runs, 0 for the best to 1 for the worst: their colour, and who lies above.
    """
    if not axes or not ranks:
        return ""
    gap = (_WIDE - 2 * _SIDE) / max(len(axes) - 1, 1)
    places = [_SIDE + k * gap for k in range(len(axes))]
    heights = [_heights(axis) for axis in axes]
    lines = []
    for run in sorted(range(len(ranks)), key=lambda run: -ranks[run]):
        points = [(x, known[run]) for x, known in zip(places, heights, strict=True) if known[run] is not None]
        path = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
        width = 2.6 if ranks[run] == 0 else 1.2
        lines.append(f'<polyline points="{path}" fill="none" stroke="{shade(ranks[run])}" stroke-width="{width}"/>')
    frames = [_axis(x, axis) for x, axis in zip(places, axes, strict=True)]
    return _svg(_WIDE, _HIGH, "runs across their options and results", [*lines, *frames])


def shade(rank: float) -> str:
    """From the colour of the best to that of the worst, by way of grey. rank: in [0, 1]."""
    first, second, share = (BEST, OTHER, rank * 2) if rank < 0.5 else (OTHER, WORST, rank * 2 - 1)
    mixed = [round(int(first[k : k + 2], 16) * (1 - share) + int(second[k : k + 2], 16) * share) for k in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _heights(axis: Axis) -> list[float | None]:
    """Where every run crosses an axis, from the top; words lie at equal distances, in the order of the alphabet."""
    known = [value for value in axis.values if value != ""]
    numbers = as_numbers(known)
    if numbers is None:
        words = sorted(set(known))
        places = {word: k / max(len(words) - 1, 1) for k, word in enumerate(words)}
        shares = [None if value == "" else places[value] for value in axis.values]
    else:
        low, high = min(numbers, default=0.0), max(numbers, default=0.0)
        shares = [None if value == "" else _share(float(value), low, high, _log(low, high)) for value in axis.values]
    return [None if share is None else _HIGH - _BOTTOM - share * (_HIGH - _BOTTOM - _TOP) for share in shares]


def _log(low: float, high: float) -> bool:
    """Numbers above 0 that span more than a factor of 20 are shown by their logarithm."""
    return low > 0 and high / low > 20


def _share(value: float, low: float, high: float, log: bool) -> float:
    if low == high:
        return 0.5
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def _axis(x: float, axis: Axis) -> str:
    """A line, its name above, its ends or its words beside."""
    base = _HIGH - _BOTTOM
    parts = [f'<path d="M{x:.0f} {_TOP}V{base}" stroke="#444"/>']
    parts.append(f'<text x="{x:.0f}" y="18" text-anchor="middle" font-weight="600">{escape(axis.name)}</text>')
    known = [value for value in axis.values if value != ""]
    numbers = as_numbers(known)
    if numbers is None:
        marks = {value: y for value, y in zip(axis.values, _heights(axis), strict=True) if y is not None}
        parts += [f'<text x="{x + 5:.0f}" y="{y + 4:.0f}">{escape(word)}</text>' for word, y in marks.items()]
    elif numbers:
        low, high = (number(end) if abs(end) >= 1e6 else brief(str(end)) for end in (min(numbers), max(numbers)))
        if low == high:
            return "".join([*parts, f'<text x="{x + 5:.0f}" y="{(_TOP + base) / 2 + 4:.0f}">{low}</text>'])
        parts.append(f'<text x="{x:.0f}" y="{base + 16}" text-anchor="middle">{low}</text>')
        parts.append(f'<text x="{x:.0f}" y="{_TOP - 8}" text-anchor="middle">{high}</text>')
    return "".join(parts)


def bars(shares: Sequence[tuple[str, float]]) -> str:
    """A bar per name, in [0, 1]; "" without any."""
    if not shares:
        return ""
    high, parts = 24 * len(shares) + 6, []
    for k, (name, share) in enumerate(shares):
        y = 24 * k + 6
        parts.append(f'<text x="150" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="158" y="{y}" width="{200 * share:.1f}" height="16" fill="{BEST}"/>')
        parts.append(f'<text x="{164 + 200 * share:.1f}" y="{y + 13}">{share:.2f}</text>')
    return _svg(420, high, "how much of the differences each option explains", parts)


class Point(NamedTuple):
    """A run in a plane."""

    name: str
    across: float
    up: float
    leads: bool
    """Whether it lies on the Pareto front."""


def points(runs: Sequence[Point], across: str, up: str) -> str:
    """Runs by two metrics, those of the front joined and named. runs: one at least."""
    left, right, top, base, pad = 60, 410, 12, 200, 14
    spans = [_ends([run.across for run in runs]), _ends([run.up for run in runs])]

    def placed(run: Point) -> tuple[float, float]:
        x, y = (_share(value, *span, False) for value, span in zip((run.across, run.up), spans, strict=True))
        return left + pad + x * (right - left - 2 * pad), base - pad - y * (base - top - 2 * pad)

    lead = sorted((run for run in runs if run.leads), key=lambda run: run.across)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(placed, lead))
    parts = [f'<path d="M{left} {top}V{base}H{right}" fill="none" stroke="#999"/>']
    parts.append(f'<polyline points="{line}" fill="none" stroke="{BEST}" stroke-width="1.4" stroke-dasharray="4 3"/>')
    for run in runs:
        (x, y), colour = placed(run), BEST if run.leads else OTHER
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(run.name)}</title></circle>'
        )
        if run.leads:
            parts.append(f'<text x="{x + 6:.1f}" y="{y + 12:.1f}">{escape(run.name)}</text>')
    texts = [(left + pad, base + 15, "start", spans[0][0]), (right, base + 15, "end", spans[0][1])]
    texts += [(left - 5, base - pad + 4, "end", spans[1][0]), (left - 5, top + pad + 4, "end", spans[1][1])]
    parts += [f'<text x="{x}" y="{y}" text-anchor="{end}">{number(value)}</text>' for x, y, end, value in texts]
    parts.append(f'<text x="{(left + right) / 2}" y="{base + 30}" text-anchor="middle">{escape(across)}</text>')
    middle = (base + top) / 2
    turned = f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(up)}</text>'
    return _svg(420, 236, f"{up} by {across}", [*parts, turned])


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _svg(width: int, height: int, said: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
