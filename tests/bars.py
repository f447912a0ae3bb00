"""Progress bars that are still drawing themselves."""

import threading

from rich.live import _RefreshThread


def open_bars() -> int:
    """How many there are. One that outlives its command draws itself into what is said after it."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _RefreshThread)]
    return sum(not thread.done.is_set() for thread in threads)
