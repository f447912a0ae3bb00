"""Charts as inline SVG: distributions and curves with axes, one colour per method; no script, no font, no network."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from idn.evaluation.report.table import short

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart; further methods begin again, with dashes."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 190, 46, 34, 10
_BINS = 24

Line = Sequence[tuple[float, float]]


def colour(number: int) -> str:
    """Of a method, by its number."""
    return COLOURS[number % len(COLOURS)]


def distributions(values: Mapping[str, NDArray[np.float64]], label: str) -> str:
    """Share of the pairs by value, a line per method; what lies beyond the ends of the axis is counted at them.

    A method whose pairs are all alike, as a copy's, would press the others flat: it is cut off above them.

    values: (P,) each, with NaN where nothing is known.
    """
    known = {name: column[np.isfinite(column)] for name, column in values.items()}
    ends = usual_range(list(known.values()))
    if ends is None:
        return ""
    low, high = ends
    edges = np.linspace(low, high, _BINS + 1)
    shares = {
        name: np.histogram(np.clip(column, low, high), edges)[0] / max(len(column), 1) for name, column in known.items()
    }
    top = max((1.1 * shares[name].max() for name, column in known.items() if len(column) and np.ptp(column)), default=1)
    lines: dict[str, Line] = {}
    for name, counts in shares.items():
        lines[name] = [
            point
            for k, share in enumerate(np.minimum(counts, top).tolist())
            for point in ((float(edges[k]), share), (float(edges[k + 1]), share))
        ]
    return chart(lines, label, "share of pairs", zero=True)


def usual_range(columns: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    """Where nearly all values lie that differ within a column: a copy's 100 dB would press all others together.

    All values count if none differ; None if there are none.
    """
    varied = [column for column in columns if len(column) and np.ptp(column) > 0] or [c for c in columns if len(c)]
    if not varied:
        return None
    low, high = np.quantile(np.concatenate(varied), (0.005, 0.995)).tolist()
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def chart(lines: Mapping[str, Line], across: str, up: str, dots: bool = False, zero: bool = False) -> str:
    """Lines in a frame with the ends of both axes.

    lines: by method; one without points keeps its colour.
    across, up: what the axes show.
    dots: mark every point.
    zero: the vertical axis begins at 0.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    (left, right), (low, high) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    low = 0.0 if zero else low
    parts = [_frame(across, up, (left, right), (low, high), all(float(point[0]).is_integer() for point in points))]
    for number, line in enumerate(lines.values()):
        placed = [
            (
                _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - 8),
                _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP),
            )
            for x, y in line
        ]
        parts.append(_drawn(placed, number, dots))
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(up)} by {escape(across)}">' + (
        "".join(parts) + "</svg>"
    )


def _drawn(placed: Line, number: int, dots: bool) -> str:
    dash = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    line = f'<polyline points="{path}" fill="none" stroke="{colour(number)}" stroke-width="1.6"{dash}/>'
    marks = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour(number)}"/>' for x, y in placed)
    return line + ("".join(marks) if dots else "")


def _frame(across: str, up: str, horizontal: tuple[float, float], vertical: tuple[float, float], whole: bool) -> str:
    """whole: whether the values across are whole numbers, such as steps."""
    base, middle = _HEIGHT - _BOTTOM, (_LEFT + _WIDTH - 8) / 2
    first, last = (f"{end:.0f}" if whole else short(end) for end in horizontal)
    texts = [
        (_LEFT, base + 13, "start", first),
        (_WIDTH - 8, base + 13, "end", last),
        (_LEFT - 4, base, "end", short(vertical[0])),
        (_LEFT - 4, _TOP + 8, "end", short(vertical[1])),
        (middle, base + 27, "middle", across),
    ]
    said = "".join(f'<text x="{x}" y="{y}" text-anchor="{end}">{escape(text)}</text>' for x, y, end, text in texts)
    turned = (
        f'<text x="11" y="{(base + _TOP) / 2}" text-anchor="middle" transform="rotate(-90 11 {(base + _TOP) / 2})">'
    )
    box = f'<path d="M{_LEFT} {_TOP}V{base}H{_WIDTH - 8}" fill="none" stroke="#999"/>'
    return f"{box}{said}{turned}{escape(up)}</text>"


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low - 0.5, high + 0.5) if low == high else (low, high)
