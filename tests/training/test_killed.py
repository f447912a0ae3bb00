"""A real `idn train` that is killed at any moment goes on by the same command, and ends as if nothing had happened."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from idn.files.run_folder import CHECKPOINTS, LAST
from tests.training.killer import PRELOAD, run_idn

pytestmark = pytest.mark.slow

RUN = ["train", "data.size=32", "data.batch=2", "data.val_batches=2", "student.width=0.25", "trainer.accelerator=cpu"]
RUN += ["trainer.max_steps=20", "trainer.val_check_interval=5", "trainer.log_every_n_steps=1"]
RUN += ["callbacks.last.every=2", "callbacks.trust.every=3", "hydra.run.dir=run", "resume=auto"]
"""20 steps, a checkpoint after every second one and around every validation: a kill undoes some steps."""

PATIENCE = 900
"""Seconds after which a run that should have ended counts as stuck, on a machine with much other work."""


def moments() -> list[str]:
    """20 of them, always the same."""
    chance = random.Random(20)
    found = [f"step {chance.randint(1, 20)} {chance.uniform(0, 0.4):.3f}" for _ in range(8)]
    found += [f"validation {number} -" for number in sorted(chance.sample(range(1, 9), 4))]
    found += [f"checkpoint {chance.randint(1, 14)} {chance.uniform(0, 1):.3f}" for _ in range(5)]
    return found + [f"rename {chance.randint(1, 40)} {when}" for when in ("before", "after", "before")]


def forked(folder: Path, killed: str | None = None) -> int:
    """Run the command in a process of its own, without the seconds of its imports. Returns its exit status."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=run_idn, args=(folder, RUN, killed))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None, "stuck"
    return process.exitcode


def fresh(folder: Path) -> subprocess.Popen[str]:
    """Start the command as a shell does."""
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "idn", *RUN], cwd=folder, env=environment(), **pipes)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def state(path: Path) -> dict[str, Any]:
    """All of a checkpoint that decides what comes next."""
    content = torch.load(path, weights_only=True)
    return {key: content.get(key) for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}


def left(run: Path) -> dict[str, Any]:
    """What a run has left in its folder: names of all files, every number, every picture."""
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    checkpoints = {path.name: state(path) for path in (run / CHECKPOINTS).glob("*.ckpt")}
    pictures = {path.name: Image.open(path).tobytes() for path in run.glob("pictures/*.png")}
    told = {name: (run / name).read_text() for name in ("summary.json", "metrics/metrics.csv", "trust.jsonl")}
    return {"files": files, "student": load_file(run / "student.safetensors"), **told, **checkpoints, **pictures}


def difference(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two trees of dictionaries, lists, tensors and numbers are not equal, tensors to the last bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in difference(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for k, (a, b) in pairs for found in difference(a, b, f"{where}/{k}")]
    return [] if one == other else [where]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not path.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    process = fresh(folder)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    found = left(folder / "run")
    shutil.rmtree(folder)
    return found


@pytest.mark.parametrize("moment", moments())
def test_a_run_killed_at_any_moment_goes_on_bit_equal(moment: str, whole: dict[str, Any], tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    assert forked(tmp_path, moment) == -signal.SIGKILL, said.read_text()
    assert forked(tmp_path) == 0, said.read_text()
    found = left(tmp_path / "run")
    assert found["files"] == whole["files"] and difference(found, whole) == []
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_saves_and_goes_on_bit_equal(
    number: signal.Signals, whole: dict[str, Any], tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # one that is ignored would be inherited
    process = fresh(tmp_path)
    signal.signal(signal.SIGINT, before)
    wait_for(tmp_path / "run" / CHECKPOINTS / LAST, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1].startswith("stopped at step ") and err.rstrip().endswith("goes on"), err
    assert "Traceback" not in err and not list((tmp_path / "run").rglob(".*"))
    assert {line.split()[0] for line in err.splitlines()} <= {"step", "validation", "stopped"}, err
    assert not any((tmp_path / "run" / name).exists() for name in ("student.safetensors", "summary.json"))
    assert forked(tmp_path) == 0, (tmp_path / "said.txt").read_text()
    assert difference(left(tmp_path / "run"), whole) == []


FULL = """
mkdir run && mount -t tmpfs -o size=75m none run || exit 77
"$@"
echo $? > status
df -k run > full
cp -r run kept
"""
"""Where the second state and the best one find no room beside the first."""


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_bit_equal(whole: dict[str, Any], tmp_path: Path) -> None:
    command = ["unshare", "-rm", "sh", "-c", FULL, "sh", sys.executable, "-m", "idn", *RUN]
    try:
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) here")
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("no disk can be mounted here")
    said = [line for line in ended.stderr.splitlines() if not line.startswith(("step ", "validation "))]
    assert (tmp_path / "status").read_text() == "2\n", ended.stderr
    assert len(said) == 1 and said[0].startswith("idn: the disk is full: free some space"), ended.stderr
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "kept").rename(tmp_path / "run")
    kept = state(tmp_path / "run" / CHECKPOINTS / LAST)
    assert kept["global_step"] > 0 and not list((tmp_path / "run").rglob(".*")), "loadable, and no drafts"
    assert forked(tmp_path) == 0, (tmp_path / "said.txt").read_text()
    assert difference(left(tmp_path / "run"), whole) == []
