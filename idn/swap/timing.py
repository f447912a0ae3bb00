"""Timing by part: detect, align, network, paste, decode, encode; from several threads at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("decode", "detect", "align", "network", "paste", "encode")


class Parts:
    """Seconds by part: of the clock, and of the processor in the thread that did it."""

    def __init__(self) -> None:
        self.wall = dict.fromkeys(PARTS, 0.0)
        self.processor = dict.fromkeys(PARTS, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def measured(self, part: str) -> Iterator[None]:
        """Count the time of this block for a part."""
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            spent = time.perf_counter() - wall, time.thread_time() - processor
            with self._lock:
                self.wall[part] += spent[0]
                self.processor[part] += spent[1]
