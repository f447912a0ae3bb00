"""Runs from the command line: folders that hold one, callbacks and loggers that are null, intervals in steps."""

from pathlib import Path

import pytest
import torch

from idn.files.run_folder import LAST, LAST_GOOD, holds_run, newest_checkpoint

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
SHORT = [*SMALL, "trainer.max_steps=2", "trainer.val_check_interval=2"]


def test_a_folder_that_holds_a_run_is_refused_with_the_two_ways_on(idn_cli, tmp_path: Path) -> None:
    assert idn_cli("train", *SHORT, "hydra.run.dir='my run'")[0] == 0
    before = {path: path.read_bytes() for path in sorted((tmp_path / "my run").rglob("*")) if path.is_file()}
    status, _, err = idn_cli("train", *SHORT, "hydra.run.dir='my run'", "seed=1")
    assert status == 2 and "add 'resume=my run' to go on with it, or choose another folder" in err
    assert before == {path: path.read_bytes() for path in sorted((tmp_path / "my run").rglob("*")) if path.is_file()}
    status, _, err = idn_cli("train", *SHORT, "hydra.run.dir='my run'", "resume=my run", "trainer.max_steps=4")
    assert status == 0, err


@pytest.mark.parametrize("verb", ["train-teacher", "train-encoder", "train-scorer"])
def test_so_it_is_for_every_verb_that_trains(verb: str, idn_cli, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints" / LAST).touch()
    more = ["graded.folder=x"] if verb == "train-scorer" else []
    status, _, err = idn_cli(verb, *more, "hydra.run.dir=run")
    assert status == 2 and "hydra.run.dir=run holds a run: add resume=run" in err


def test_a_run_without_a_state_to_go_on_from_is_not_sent_in_circles(idn_cli, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints" / LAST).write_bytes(b"PK, cut short")
    status, _, err = idn_cli("train", *SHORT, "hydra.run.dir=run", "resume=auto")
    assert status == 2 and "idn: run holds a run, but no state of it that can be read: delete it" in err
    assert (tmp_path / "run/checkpoints" / LAST).read_bytes() == b"PK, cut short"


def test_a_sweep_does_not_overwrite_another(idn_cli, tmp_path: Path) -> None:
    (tmp_path / "sweep/0").mkdir(parents=True)
    (tmp_path / "sweep/0/summary.json").touch()
    status, _, err = idn_cli("train", *SHORT, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert status == 2 and "hydra.sweep.dir=sweep holds runs, such as 0: choose another folder" in err


def test_what_a_folder_holds(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None and not holds_run(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    assert not holds_run(tmp_path), "the best alone is no state to go on from"
    (tmp_path / "checkpoints" / LAST_GOOD).touch()
    assert holds_run(tmp_path)
    for folder in (tmp_path, tmp_path / "checkpoints"):
        assert newest_checkpoint(folder) == tmp_path / "checkpoints" / LAST_GOOD


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["callbacks.picture=null", "callbacks.trust=null"], ["pictures", "trust.jsonl"]),
        pytest.param(["~logger"], ["metrics"], marks=pytest.mark.slow),
        (["logger=null", "callbacks.progress=null"], ["metrics"]),
        pytest.param(["logger.csv=null"], ["metrics"], marks=pytest.mark.slow),
        (["callbacks=null"], ["checkpoints", "pictures"]),
    ],
)
def test_null_switches_off(words: list[str], absent: list[str], idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train", *SHORT, *words, "hydra.run.dir=run")
    assert status == 0 and "Traceback" not in out + err, err
    assert (tmp_path / "run/student.safetensors").is_file()
    assert not any((tmp_path / "run" / name).exists() for name in absent)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "nothing of Lightning's own beside it"


def test_validations_count_steps_also_where_batches_accumulate(idn_cli, tmp_path: Path) -> None:
    words = ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.accumulate_grad_batches=3"]
    status, _, err = idn_cli("train", *SMALL, *words, "hydra.run.dir=run")
    assert status == 0, err
    said = [line.split(":")[0] for line in err.splitlines() if line.startswith("validation at")]
    assert said == ["validation at step 2", "validation at step 4"]


def test_pictures_of_a_lost_attempt_are_not_kept(idn_cli, tmp_path: Path) -> None:
    assert idn_cli("train", *SHORT, "hydra.run.dir=run")[0] == 0
    old = tmp_path / "run/pictures/step_000900.png"
    old.touch()
    more = ["resume=run", "trainer.max_steps=3", "hydra.run.dir=run"]
    status, out, err = idn_cli("train", *SHORT, *more)
    assert status == 0 and not old.exists() and str(tmp_path / "run/pictures/step_000003.png") in out, err


def test_runs_of_wandb_end_with_ours_and_go_on_as_the_same(
    idn_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = [*SHORT, "logger=wandb", "logger.wandb.offline=true"]
    status, _, err = idn_cli("train", *words, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert status == 0 and wandb.run is None, err
    ids = [torch.load(tmp_path / f"sweep/{k}/checkpoints" / LAST, weights_only=True)["wandb_run"] for k in (0, 1)]
    assert len(set(ids)) == 2 and all(ids)
    status, _, err = idn_cli("train", *words, "trainer.max_steps=3", "resume=sweep/1", "hydra.run.dir=on")
    assert status == 0, err
    again = torch.load(tmp_path / "on/checkpoints" / LAST, weights_only=True)["wandb_run"]
    assert again == ids[1]
