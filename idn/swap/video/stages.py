"""Pipeline threads: decoding, finding faces, swapping and encoding side by side, with few frames between them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_FEW = 4
"""Frames that wait between two stages."""
_END = object()


class Stopped(Exception):
    """Another stage has failed, or the user has had enough."""


class Stages:
    """Stages in threads of their own, each of which takes what the one before gives.

    What one raises ends all of them, and is raised by the iterator that `run` returns.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def run(self, start: Iterable[Any], *stages: Callable[[Iterator[Any]], Iterator[Any]]) -> Iterator[Any]:
        """What the last stage gives. Each stage gets an iterator over what the one before gives."""
        given: Iterator[Any] = iter(start)
        for index, stage in enumerate((None, *stages)):
            line: queue.Queue[Any] = queue.Queue(_FEW)
            work = given if stage is None else stage(given)
            thread = threading.Thread(target=self._work, args=(work, line), name=f"stage {index}", daemon=True)
            self._threads.append(thread)
            given = self._taken(line)
        for thread in self._threads:
            thread.start()
        return given

    def stop(self) -> None:
        """End all stages and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, work: Iterator[Any], line: "queue.Queue[Any]") -> None:
        try:
            for item in work:
                self._put(line, item)
        except Stopped:
            return
        except BaseException as error:
            self._failed.append(error)
            self._stop.set()
            return
        try:
            self._put(line, _END)
        except Stopped:
            return

    def _put(self, line: "queue.Queue[Any]", item: Any) -> None:
        while not self._stop.is_set():
            try:
                line.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise Stopped

    def _taken(self, line: "queue.Queue[Any]") -> Iterator[Any]:
        while True:
            try:
                item = line.get(timeout=0.1)
            except queue.Empty:
                if self._stop.is_set():
                    if self._failed and threading.current_thread() not in self._threads:
                        raise self._failed[0] from None
                    raise Stopped from None
                continue
            if item is _END:
                return
            yield item
