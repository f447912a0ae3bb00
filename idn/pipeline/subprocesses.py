"""Commands that run beside us and are asked to save their state when we are told to stop."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from idn.errors import UserError

_SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
_LAST = 60
"""Lines of a log in which the reason of a failure is looked for."""
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit)\b")
_HYDRA_ADVICE = "Set the environment variable HYDRA_FULL_ERROR"


class StageError(UserError):
    """A stage of a pipeline that did not bring what it should.

    stage: its name.
    log: the file with all that its command said.
    """

    def __init__(self, stage: str, log: Path, said: str) -> None:
        super().__init__(f"stage {stage} {said} (all it said: {log})")
        self.stage, self.log = stage, log


class Children:
    """Runs commands. `stopped` is the number of the signal by which somebody asked for the end, None until then."""

    def __init__(self) -> None:
        self.stopped: int | None = None
        self._running: set[subprocess.Popen] = set()

    def run(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
        """Run a command to its end and return its exit status; its output is added to the file `log`.

        May be called from several threads. Once stopped, nothing more is begun, and the status is 1.
        """
        if self.stopped is not None:
            return 1
        with log.open("a") as file:
            child = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C reaches it once, through us
            )
            self._running.add(child)
            try:
                return child.wait()
            finally:
                self._running.discard(child)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While this lasts, Ctrl-C and requests to terminate interrupt the commands, which then end by themselves."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopped = number
            for child in tuple(self._running):
                child.send_signal(signal.SIGINT) if os.name == "posix" else child.terminate()

        before = {number: signal.signal(number, stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def reason(log: Path, code: int) -> str:
    """Why a command failed: the signal that killed it, our own sentence, the last exception, or the last line."""
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}, as the system does where memory runs out"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-_LAST:]]
    told = [line.removeprefix("idn: ") for line in lines if line.startswith("idn: ")]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    said = [line for line in lines if line and not line.startswith(_HYDRA_ADVICE)]
    return (told or raised or said or ["it said nothing"])[-1].rstrip(".")
