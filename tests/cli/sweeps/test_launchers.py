"""The same search by real launchers: Hydra's own, joblib, submitit's local executor, Ray on one node."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idn.sweeps.outcomes import NOTES, read_outcomes

pytestmark = pytest.mark.slow

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
SEARCH = ["train", "-m", *SMALL, "trainer.max_steps=4", "trainer.val_check_interval=2", "hydra/sweeper=optuna"]
SEARCH += ["optim.lr=choice(0.0003,0.005,1e30)", "loss.weights.face=interval(2,40)", "keep_losers=false"]
SEARCH += [
    "hydra.sweeper.pruner.n_startup_trials=2",
    "hydra.sweeper.sampler.n_startup_trials=3",
    "hydra.sweep.dir=sweep",
]


def idn(folder: Path, *words: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", "idn", *words], cwd=folder, **pipes)


@pytest.mark.parametrize(
    ("launcher", "module"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.parallel=2"], "hydra_joblib_launcher"),
        (["hydra/launcher=submitit_local", "hydra.sweeper.parallel=2"], "hydra_submitit_launcher"),
        (["hydra/launcher=ray", "hydra.sweeper.parallel=2"], "hydra_ray_launcher"),
    ],
    ids=["joblib", "submitit", "ray"],
)
def test_a_launcher_runs_the_trials(launcher: list[str], module: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(f"hydra_plugins.{module}") is None:
        pytest.skip(f"{module} is not installed")
    process = idn(tmp_path, *SEARCH, "hydra.sweeper.trials=4", *launcher)
    out, _ = process.communicate()
    outcomes = read_outcomes(tmp_path / "sweep")
    assert {one.folder for one in outcomes} == {"0", "1", "2", "3"} and "the best once more: idn train" in out, out
    states = [one.state for one in outcomes]
    assert states.count("unfinished") == 0 and process.returncode == (2 if "failed" in states else 0)
    assert all("nan" in one.reason for one in outcomes if one.state == "failed")
    assert len(list((tmp_path / "sweep").glob("*/student.safetensors"))) == 1


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    process = idn(tmp_path, *SEARCH, "hydra.sweeper.trials=6")
    notes = tmp_path / "sweep" / NOTES
    while process.poll() is None and (not notes.is_file() or notes.read_text().count("unfinished") < 3):
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(read_outcomes(tmp_path / "sweep"))
    out, _ = idn(tmp_path, *SEARCH, "hydra.sweeper.trials=6").communicate()
    outcomes = read_outcomes(tmp_path / "sweep")
    assert before == 3 and len(outcomes) == 7, out
    assert [(one.folder, one.reason) for one in outcomes if one.state == "unfinished"] == [
        ("2", "was killed, and went on as run 3")
    ]
    (kept,) = {path.parts[-3] for path in (tmp_path / "sweep").rglob("*.ckpt")}
    assert (tmp_path / "sweep" / kept / "student.safetensors").is_file(), "the best, and nothing of what was killed"
    assert outcomes[3].choices == outcomes[2].choices and outcomes[3].state != "unfinished"
    assert all(json.loads(line)["folder"] for line in notes.read_text().splitlines())


def test_runs_on_two_devices_tell_why_they_failed_and_losers_leave_no_weights(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.devices=2", "trainer.max_steps=2", "trainer.val_check_interval=2", "keep_losers=false"]
    process = idn(tmp_path, "train", "-m", *words, "optim.lr=0.005,0.002,1e30", "hydra.sweep.dir=sweep")
    out, _ = process.communicate()
    outcomes = read_outcomes(tmp_path / "sweep")
    assert process.returncode == 2 and [one.state for one in outcomes] == ["finished", "finished", "failed"], out
    assert "the loss became nan at step 1" in outcomes[2].reason
    kept = {path.parts[-3] for path in (tmp_path / "sweep").rglob("*.ckpt")}
    assert len(kept) == 1 and kept <= {"0", "1"}
    sizes = {
        one.folder: sum(p.stat().st_size for p in (tmp_path / "sweep" / one.folder).rglob("*")) for one in outcomes
    }
    assert all(size < 1e6 for folder, size in sizes.items() if folder not in kept) and sizes[kept.pop()] > 1e7
