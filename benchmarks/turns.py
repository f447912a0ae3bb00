"""Measurements that take turns: a process per subject, all loaded, called round after round. Standard library only.

A subject answers each line on its standard input, a number of seconds, with one line of JSON: the milliseconds of
every call in that time. Whatever else the machine does meanwhile, all the subjects see the same of it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PAUSE = 0.05
"""Seconds before a turn, in which the threads of the one before stop spinning."""


def serve(call: Callable[[], object], about: str) -> None:
    """Be a subject: warm up, say what this is, measure `call` on demand until the input ends."""
    for _ in range(5):
        call()
    _say(about)
    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        times = []
        while time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e3)
        _say(times)


def _say(value: str | list[float]) -> None:
    print(json.dumps(value), flush=True)


class Subject:
    """A process that serves. log: takes what it says on standard error."""

    def __init__(self, name: str, command: Sequence[str], threads: int, log: Path) -> None:
        self.name = name
        self.log = log
        self.rounds: list[list[float]] = []
        environment = os.environ | {variable: str(threads) for variable in THREADS}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, env=environment, stderr=errors, **pipes)
        self.about = self._hear()

    def measure(self, seconds: float) -> None:
        time.sleep(PAUSE)
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.rounds.append(self._hear())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _hear(self) -> str | list[float]:
        """The next answer. What a library prints on standard output is no JSON, and passed over."""
        for line in self.process.stdout:
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                continue
        said = "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-5:])
        raise SystemExit(f"{self.name} ended with status {self.process.wait()} before it answered:\n{said}")
