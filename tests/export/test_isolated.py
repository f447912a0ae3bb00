"""Work in another process: what it returns, what it refuses, and what is left when it dies."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from idn.cli.termination import terminable
from idn.errors import OptionError, UserError
from idn.export.isolated import death, elsewhere, here
from tests.raising import raises


def remember(value: int, seen: list[int] = []) -> tuple[int, list[int]]:  # noqa: B006 - what the process keeps
    seen.append(value)
    return os.getpid(), list(seen)


def refuse() -> None:
    raise OptionError("floor", 3, "is too low")


def fail() -> None:
    raise RuntimeError("no kernel\nfor this")


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def test_one_process_serves_all_calls_and_another_takes_over_after_a_crash() -> None:
    with elsewhere("format odd") as call:
        first, seen = call(remember, 1)
        assert seen == [1] and first != os.getpid()
        assert call(remember, 2) == (first, [1, 2])
        with raises(UserError, "floor=3 "):
            call(refuse)
        with raises(UserError, "format odd", "RuntimeError: no kernel"):
            call(fail)
        with raises(UserError, "format odd", "SIGSEGV"):
            call(die, signal.SIGSEGV)
        second, seen = call(remember, 3)
        assert second != first and seen == [3]
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def linger(told: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told.with_suffix(".part").write_text(f"{child.pid}\n{tempfile.mkdtemp()}")
    told.with_suffix(".part").rename(told)
    child.wait()


@pytest.fixture
def unhandled() -> Iterator[None]:
    """A process in which nobody handles the signal, as a trainer of an earlier test may do in this one."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_request_to_terminate_ends_all_that_works_for_us(unhandled: None, tmp_path: Path) -> None:
    told = tmp_path / "told"

    def terminate() -> None:
        while not told.is_file():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(SystemExit) as ended, terminable(), elsewhere("format odd") as call:
        call(linger, told)
    assert ended.value.code == 143
    child, scratch = told.read_text().splitlines()
    assert not Path(scratch).exists() and not Path(scratch).parent.exists()
    until = time.monotonic() + 5
    while _runs(int(child)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _runs(int(child))


def _runs(process: int) -> bool:
    """Whether there is such a process that is not dead already and only waits to be noticed."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


def test_a_script_that_is_run_anew_in_the_other_process_is_told_how_to_mend_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom idn.export.isolated import elsewhere\n"
        "with elsewhere('runtime odd') as call:\n    print(call(os.getpid))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and 'put what it does under if __name__ == "__main__":' in done.stderr
    assert "runtime odd crashed" in done.stderr and "AssertionError" not in done.stderr


def test_here_is_this_process() -> None:
    assert here(remember, 4)[0] == os.getpid()


def test_a_death_in_words() -> None:
    assert death(-11) == "SIGSEGV" and death(3) == "exit status 3" and "answer" in death(None)
    assert death(-250) == "signal 250"
