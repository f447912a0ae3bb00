"""Stopping: signals save, say how to go on and give the status that shells know; a full disk."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from idn.files.run_folder import LAST, LAST_GOOD
from idn.training.callbacks.save_checkpoints import SaveLast, SaveOnError
from idn.training.checkpoint_io import WholeCheckpoints
from idn.training.loggers import ResumableCsvLogger
from idn.training.resume import start
from idn.training.stopping import stoppable
from tests.conftest import quiet_trainer

Make = Callable[..., Any]
Train = Callable[..., subprocess.Popen[str]]
SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
SMALL += ["trainer.val_check_interval=2", "callbacks.last.every=1"]


class At(pl.Callback):
    """Does something in a hook, once, when a step has been reached."""

    def __init__(self, step: int, do: Callable[[], None], hook: str = "on_train_batch_end") -> None:
        def act(trainer: pl.Trainer, *rest: Any, **more: Any) -> None:
            if trainer.global_step == step and not self.done:
                self.done = True
                do()

        self.done = False
        setattr(self, hook, act)


def run(path: Path, module: Any, data: Any, *more: pl.Callback, resume: Path | None = None, every: int = 100) -> Any:
    callbacks = [SaveLast(path, every), SaveOnError(path), *more]
    trainer = quiet_trainer(path, 6, val_check_interval=3, callbacks=callbacks, logger=ResumableCsvLogger(path))
    with stoppable(trainer):
        start(trainer, module, data, resume)
    return module


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    raise KeyboardInterrupt


def press() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


class Pressed(pl.Callback):
    """Ctrl-C in the middle of a forward pass, `times` times, when a step has been reached."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.left = step, times

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        def hook(*_: Any) -> None:
            if trainer.global_step == self.step and trainer.training:
                while self.left:
                    self.left -= 1
                    press()

        module.network.idn.register_forward_hook(hook)


def break_off() -> None:
    """As a loader process does that was asked to terminate with us."""
    os.kill(os.getpid(), signal.SIGTERM)
    raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Any]:
    """What the first test of a run that nobody stopped finds out about it: its weights, its curve."""
    return {}


@pytest.mark.parametrize(
    ("do", "hook", "step", "status"),
    [
        (terminate, "on_train_batch_end", 2, 143),
        pytest.param(interrupt, "on_train_batch_end", 2, 130, marks=pytest.mark.slow),
        (break_off, "on_train_batch_end", 2, 143),
        pytest.param(terminate, "on_validation_batch_end", 3, 143, marks=pytest.mark.slow),
        (terminate, "on_validation_end", 6, 143),
        (interrupt, "on_validation_batch_start", 3, 130),
    ],
)
def test_a_run_that_is_stopped_saves_says_how_to_go_on_and_goes_on_exactly(
    do: Callable[[], None],
    hook: str,
    step: int,
    status: int,
    tmp_path: Path,
    make_module: Make,
    make_data: Make,
    capsys: pytest.CaptureFixture[str],
    uninterrupted: dict[str, Any],
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "a", make_module(), make_data(), At(step, do, hook))
    assert stop.value.code == status
    good = tmp_path / "a" / LAST_GOOD
    assert f"stopped at step {step}: the same command with resume={good} goes on" in capsys.readouterr().err
    assert torch.load(good, weights_only=True)["global_step"] == step
    resumed = run(tmp_path / "a", make_module(), make_data(), resume=good).state_dict()
    if not uninterrupted:
        uninterrupted["weights"] = run(tmp_path / "b", make_module(), make_data()).state_dict()
        uninterrupted["curve"] = (tmp_path / "b/metrics.csv").read_text()
    for key, value in uninterrupted["weights"].items():
        assert torch.equal(resumed[key], value), key
    if (do, hook) == (terminate, "on_train_batch_end") or step in (3, 6):  # else the step itself broke off, untold
        told = [(tmp_path / "a/metrics.csv").read_text(), uninterrupted["curve"]]
        assert told[0] == told[1] and len(told[0].splitlines()) == 1 + 6 + 2, "each step once, each validation once"
    assert not good.exists(), "the run is beyond that"


def test_ctrl_c_within_a_step_lets_it_come_to_its_end(
    tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "a", make_module(), make_data(), Pressed(3))
    good = tmp_path / "a" / LAST_GOOD
    assert (
        stop.value.code == 130 and f"stopped at step 4: the same command with resume={good}" in capsys.readouterr().err
    )
    resumed = run(tmp_path / "a", make_module(), make_data(), resume=good).state_dict()
    for key, value in run(tmp_path / "b", make_module(), make_data()).state_dict().items():
        assert torch.equal(resumed[key], value), key
    assert (tmp_path / "a/metrics.csv").read_text() == (tmp_path / "b/metrics.csv").read_text()


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_state_before(
    tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, make_module(), make_data(), Pressed(3, times=2), every=2)
    assert stop.value.code == 130 and not (tmp_path / LAST_GOOD).exists()
    assert f"stopped at step 3: the same command with resume={tmp_path / LAST} goes on" in capsys.readouterr().err
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] in (2, 3)


def test_one_that_is_stopped_before_its_first_step_says_so(
    tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, make_module(), make_data(), At(0, interrupt, "on_train_start"))
    assert stop.value.code == 130 and "nothing is saved: the same command begins again" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_other_errors_are_no_stop(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path, make_module(), make_data(), At(2, fail))
    assert torch.load(tmp_path / LAST_GOOD, weights_only=True)["global_step"] == 2


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, make_module: Make, make_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.save

    class Full(io.FileIO):
        """A file on a disk with room for half a checkpoint."""

        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def full(checkpoint: dict[str, Any], file: Any) -> None:
        with Full(file.name, "wb") as other:
            whole(checkpoint, other if checkpoint["global_step"] >= 4 else file)

    monkeypatch.setattr("idn.training.checkpoint_io.save", full)
    with pytest.raises(OSError, match="No space"):
        run(tmp_path, make_module(), make_data(), every=2)
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {LAST, "metrics.csv"}, "nothing half-written is left"


def test_lightnings_own_checkpoints_are_written_whole_too(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    best = pl.callbacks.ModelCheckpoint(tmp_path, "best", monitor="val/loss", enable_version_counter=False)
    calls: list[str] = []

    class Watched(WholeCheckpoints):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            calls.append(Path(path).name)
            super().save_checkpoint(checkpoint, path, storage_options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("idn.training.resume.WholeCheckpoints", Watched)
        run(tmp_path, make_module(), make_data(), best)
    assert {"best.ckpt", LAST} <= set(calls) and (tmp_path / "best.ckpt").is_file()


PATIENCE = 1200
"""Seconds after which a run that should have ended counts as stuck, on a machine with much other work."""


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """Starts `idn train` beside us, which Ctrl-C stops as in a shell, also where these tests run in the background."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "idn", "train", *SMALL, *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # one that is ignored would be inherited
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        signal.signal(signal.SIGINT, before)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not path.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_program_ends_as_schedulers_and_shells_expect(
    number: int, status: int, train: Train, tmp_path: Path
) -> None:
    process = train("trainer.max_steps=100000", "hydra.run.dir=run")
    wait_for(tmp_path / "run/checkpoints" / LAST, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status and "goes on" in err.splitlines()[-1], err
    assert not (tmp_path / "run/student.safetensors").exists() and not (tmp_path / "run/summary.json").exists()
    again = train("trainer.max_steps=100000", "hydra.run.dir=run")
    _, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 2 and "resume=run" in err, "a requeued job does not lose its checkpoint"
