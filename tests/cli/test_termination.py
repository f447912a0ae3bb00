"""A request to terminate: what is half written goes away, and those who have their own answer keep it."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch

from idn import cli
from idn.cli.termination import terminable
from idn.export.converters import environment
from idn.files.atomic import atomic_write
from idn.files.photos import write_photo


@pytest.fixture(autouse=True)
def default() -> Iterator[None]:
    """Signals as a fresh process has them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_draft_goes_away(number: int, status: int, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, terminable(), atomic_write(tmp_path / "swap.pte") as draft:
        draft.write_text("half")
        os.kill(os.getpid(), number)
    assert ended.value.code == status and not list(tmp_path.iterdir())
    assert signal.getsignal(number) is signal.SIG_DFL


def test_the_command_line_ends_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(words: list[str]) -> None:
        with atomic_write(tmp_path / words[0]) as draft:
            draft.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("idn.cli.entry._obey", half)
    monkeypatch.setattr(sys, "argv", ["idn", "file"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143 and not list(tmp_path.iterdir())


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with terminable():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_trainer_that_calls_the_earlier_handler_beside_its_own_is_not_cut_short() -> None:
    noted = []
    with terminable():
        earlier = signal.getsignal(signal.SIGTERM)

        def trainers(number: int, frame: FrameType | None) -> None:
            noted.append(number)
            earlier(number, frame)

        signal.signal(signal.SIGTERM, trainers)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, earlier)
    assert noted == [signal.SIGTERM]


def test_a_crop_in_the_making_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit), terminable():
        write_photo(tmp_path / "crop.png", torch.zeros(3, 4, 4, dtype=torch.uint8), 90)
    assert not list(tmp_path.iterdir())


def test_what_an_installation_runs_ends_at_once() -> None:
    program = "import os, time; print('Collecting', os.environ['TMPDIR'], os.getpid(), flush=True); time.sleep(60)"
    told = []

    def tell(line: str) -> None:
        told.extend(line.split()[1:])
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit), terminable():
        environment._run([sys.executable, "-I", "-c", program], "odd", tell)
    assert not Path(told[0]).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(told[1]), 0)
