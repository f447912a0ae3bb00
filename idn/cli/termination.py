"""SIGTERM and SIGHUP end a command by SystemExit, so that drafts, scratch folders and helper processes go with it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


@contextmanager
def terminable() -> Iterator[None]:
    """While this lasts, a signal that asks for the end raises SystemExit with 128 + its number.

    Signals that are handled or ignored already, as by `nohup`, stay as they are. So they do outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(number) is stop:  # a trainer calls us beside a handler of its own: it saves, and ends then
            raise SystemExit(128 + number)

    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
