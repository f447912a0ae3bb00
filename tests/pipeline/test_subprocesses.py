"""Commands beside us: their output, their end, and how they are asked to stop."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from idn.pipeline.subprocesses import Children, reason

PATIENT = """
import signal, sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("saved", flush=True)
    sys.exit(7)
"""


def test_output_is_added_to_the_log_and_the_status_returned(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    code = Children().run(
        [sys.executable, "-c", "import os; print(os.environ['A']); raise SystemExit(3)"], log, {"A": "b"}
    )
    assert code == 3 and log.read_text() == "before\nb\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX systems")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_lets_commands_save_and_begins_no_others(tmp_path: Path, number: int) -> None:
    children, log = Children(), tmp_path / "log.txt"
    log.touch()

    def ask() -> None:
        while "ready" not in log.read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with children.stoppable():
        threading.Thread(target=ask).start()
        code = children.run([sys.executable, "-c", PATIENT], log, os.environ)
    assert code == 7 and "saved" in log.read_text()
    assert children.stopped == number and children.run([sys.executable, "-c", "print('no')"], log, os.environ) == 1
    assert "no" not in log.read_text() and signal.getsignal(number) is before


def test_a_failure_is_told_by_the_last_line_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("step 3\nidn: the disk is full.\n\nSet the environment variable HYDRA_FULL_ERROR=1 for more\n")
    assert reason(log, 2) == "the disk is full"
    log.write_text("Traceback (most recent call last):\n  f()\nerrors.ConfigError: no key x\n    full_key: x\n\n")
    assert reason(log, 1) == "errors.ConfigError: no key x"
    log.write_text("step 7\n")
    assert reason(log, 1) == "step 7"
    log.write_text("")
    assert reason(log, 2) == "it said nothing"
    assert "killed by SIGKILL" in reason(log, -9)
