"""How long a loaded network takes."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Latency(NamedTuple):
    """Of single calls, in milliseconds."""

    median: float
    p95: float
    calls: int


def measure(call: Callable[[], object], seconds: float, least: int = 10) -> Latency:
    """Call for `seconds`, and at least `least` times, after a tenth of that to warm up."""
    _times(call, seconds / 10, max(2, least // 5))
    times = sorted(_times(call, seconds, least))
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    return Latency(1000 * statistics.median(times), 1000 * p95, len(times))


def _times(call: Callable[[], object], seconds: float, least: int) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
