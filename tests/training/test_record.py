"""The record of a run, states that are kept, and the newest one that can be read; the same seed, the same weights."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from idn.errors import DamagedFile, MissingFile, UserError
from idn.files.run_folder import CHECKPOINTS, DIFF, LAST, LAST_GOOD, RECORD, states
from idn.training.callbacks.save_checkpoints import SaveLast
from idn.training.record import changes, data_digest, git_state, read_record, write_record
from idn.training.resume import newest_usable, start
from tests.conftest import quiet_trainer


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_a_record_holds_what_makes_the_run_again(make_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, out = tmp_path / "code", tmp_path / "run"
    repository.mkdir()
    monkeypatch.chdir(repository)
    assert git_state(tmp_path) == (None, b"")
    git(repository, "init", "-q")
    (repository / "a.py").write_text("a = 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "first")
    (repository / "a.py").write_text("a = 2\n")
    write_record(out, ["train", "seed=3"], {"seed": 3, "optim": {"lr": 0.1}}, make_data())
    record = read_record(out)
    assert record["command"] == ["train", "seed=3"] and record["config"]["optim"] == {"lr": 0.1} and record["seed"] == 3
    assert record["git"]["changed"] and len(record["git"]["revision"]) == 40
    assert b"+a = 2" in (out / DIFF).read_bytes() and record["versions"]["torch"].startswith(torch.__version__[:4])
    assert list(changes(record)) == []
    git(repository, "commit", "-qam", "second")
    record["versions"]["torch"] = "1.0"
    first, second = changes(record)
    assert first.startswith("torch is ") and first.endswith("it was 1.0") and second.startswith("the working directory")


@pytest.mark.parametrize("text", ["", "{}", '{"command": []}', '{"command": [1]}', "[]"])
def test_a_damaged_record_is_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_record(tmp_path)
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(DamagedFile):
        read_record(tmp_path)


def test_other_data_have_another_digest(make_data) -> None:
    one, same, other = make_data(), make_data(), make_data()
    other.train.seed = 7
    assert data_digest(one) == data_digest(same) != data_digest(other)


def test_the_newest_states_are_kept_and_a_truncated_one_is_passed_over(
    make_module, make_data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / CHECKPOINTS
    trainer = quiet_trainer(tmp_path, 5, val_check_interval=5, callbacks=[SaveLast(folder, every=1, keep=3)])
    start(trainer, make_module(5), make_data(), None)
    assert {path.name for path in folder.iterdir()} == {LAST, "step_000003.ckpt", "step_000004.ckpt"}
    steps = {path.name: torch.load(path, weights_only=True)["global_step"] for path in folder.iterdir()}
    assert steps == {LAST: 5, "step_000003.ckpt": 3, "step_000004.ckpt": 4}
    (folder / LAST).write_bytes((folder / LAST).read_bytes()[:1000])
    assert newest_usable(tmp_path) == folder / "step_000004.ckpt"
    assert f"passed over {folder / LAST}" in capsys.readouterr().err
    for path in states(tmp_path):
        path.write_bytes(b"")
    assert newest_usable(tmp_path) is None and newest_usable(tmp_path / "nothing") is None
    (folder / "best.ckpt").touch()
    (folder / LAST_GOOD).touch()
    assert {path.name for path in states(tmp_path)} == {LAST, LAST_GOOD, "step_000003.ckpt", "step_000004.ckpt"}


def test_two_runs_with_one_seed_end_bit_equal(make_module, make_data, tmp_path: Path) -> None:
    ends = []
    for name in "ab":
        module = make_module(3)
        quiet_trainer(tmp_path / name, 3).fit(module, make_data())
        ends.append(module.state_dict())
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_auto_goes_on_in_the_folder_or_begins(idn_cli, tmp_path: Path) -> None:
    small = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
    words = [*small, "trainer.val_check_interval=2", "resume=auto"]
    status, _, err = idn_cli("train", *words)
    assert status == 2 and "add hydra.run.dir=DIR" in err
    for steps in (2, 4):
        status, _, err = idn_cli("train", *words, "hydra.run.dir=run", f"trainer.max_steps={steps}")
        assert status == 0, err
    rows = (tmp_path / "run/metrics/metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and read_record(tmp_path / "run")["command"][-1] == "trainer.max_steps=4"


@pytest.mark.slow
def test_a_run_is_made_once_more_bit_equal(idn_cli, tmp_path: Path) -> None:
    import sys

    small = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
    assert idn_cli("train", *small, "trainer.max_steps=3", "trainer.val_check_interval=3", "hydra.run.dir=run")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "idn", "rerun", "run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "idn train data.size=32" in done.stdout, done.stderr
    again = next((tmp_path / "outputs/train").iterdir())
    one, other = (torch.load(out / CHECKPOINTS / LAST, weights_only=True) for out in (tmp_path / "run", again))
    assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
    assert (
        json.loads((again / RECORD).read_text())["data"] == json.loads((tmp_path / "run" / RECORD).read_text())["data"]
    )
    with pytest.raises(UserError):
        read_record(tmp_path)
