"""Process isolation: converters and runtimes that may crash work in a process of their own (multiprocessing, spawn)."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from idn.errors import UserError

_STOP = b""


class Call(Protocol):
    """`call(function, *arguments)`: what `function` returns, wherever it runs."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """function: of a module, so that another process finds it, too."""
        ...


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in this process."""
    return function(*arguments)


@contextlib.contextmanager
def elsewhere(name: str) -> Iterator[Call]:
    """A call that runs in one other process, which starts with the first call and ends with this context.

    A fresh interpreter: it has none of the threads, handlers and libraries of this one, and takes none down when it
    dies. After its death the next call starts another one. Its temporary files and the programs that it started go away
    with it. name: of what works there, for errors. The call raises
    UserError if the function raised one, if it raised something else, and if the process died.
    """
    worker = _Worker(name)
    try:
        yield worker.call
    finally:
        worker.stop()


class _Worker:
    """One process at a time, and the pipe to it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """As `Call`."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send_bytes(pickle.dumps((function, arguments)))
            kind, value = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise UserError(f"{self._name} crashed ({self._buried()}): leave it out") from None
        if kind == "user":
            raise UserError(value)
        if kind == "error":
            raise UserError(f"{self._name} failed: {value}")
        return value

    def stop(self) -> None:
        """End the process, whatever it does, with the programs that it runs."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(_STOP)
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it leads a group of its own
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._process = self._pipe = None
        self._scratch.cleanup()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._scratch = tempfile.TemporaryDirectory(prefix="idn-", ignore_cleanup_errors=True)
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._scratch.name), daemon=False)
        try:
            process.start()
        except RuntimeError as error:  # multiprocessing's, in a new process that runs the script of the first one anew
            self._scratch.cleanup()
            guard = 'if __name__ == "__main__":'
            raise UserError(
                f"{self._name} works in a process of its own, which reads your script anew: put what it does under "
                f"{guard}"
            ) from error
        finally:
            theirs.close()
        self._process = process

    def _buried(self) -> str:
        """What the process died of; it is gone afterwards."""
        self._process.join(10)
        reason = death(self._process.exitcode)
        self.stop()
        return reason


def death(status: int | None) -> str:
    """The exit status of a process in words; negative: the signal that ended it."""
    if status is None:
        return "it does not answer"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _serve(pipe: Connection, scratch: str) -> None:
    """Answer calls until the pipe is closed, with temporary files in `scratch`. Signals are for the one that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):  # what it starts belongs to it
        os.setsid()
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            return
        if request == _STOP:
            return
        try:
            function, arguments = pickle.loads(request)
            answer = ("value", function(*arguments))
        except UserError as error:
            answer = ("user", str(error))
        except Exception as error:  # a converter may raise anything
            said = str(error).strip().splitlines() or ["no reason given"]
            answer = ("error", f"{type(error).__name__}: {said[0][:160]}")
        pipe.send_bytes(pickle.dumps(answer))
