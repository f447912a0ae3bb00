"""Sequences of commands: order, skipping, seeds, failures. The commands themselves are replaced by notes."""

import json
import subprocess
from pathlib import Path

import pytest

from idn import pipeline
from idn.errors import UserError
from idn.pipeline import Pipeline, Stage


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run. A command whose options hold "fail" fails; one with "score=X" leaves a summary."""
    called: list[list[str]] = []

    def run(words, stdout, env, **_) -> subprocess.CompletedProcess:
        called.append(words[3:])
        stdout.write("hello\n")
        out = Path(next(word.split("=")[1] for word in words if word.startswith(("hydra.run.dir=", "out="))))
        for word in words:
            if word.startswith("score="):
                (out / "summary.json").write_text(json.dumps({"val/swap_gain": float(word[6:]), "val/loss": 1.0}))
        return subprocess.CompletedProcess(words, int("fail" in words))

    monkeypatch.setattr(pipeline.subprocess, "run", run)
    return called


def test_stages_run_in_order_each_in_its_folder(tmp_path, commands):
    stages = {"a": Stage("teacher", ["x=1"]), "b": Stage("cache", ["y=2"], folder="out"), "skipped": None}
    Pipeline(stages, tmp_path, 1).run()
    assert commands == [
        ["teacher", "x=1", f"hydra.run.dir={tmp_path / 'a'}"],
        ["cache", "y=2", f"out={tmp_path / 'b'}"],
    ]
    assert (tmp_path / "a/log.txt").read_text() == "hello\n"


def test_finished_stages_are_not_run_again(tmp_path, commands, capsys):
    stages = {"a": Stage("teacher", ["x=1"]), "b": Stage("train", seeds=[0, 1])}
    Pipeline(stages, tmp_path, 1).run()
    assert len(commands) == 3
    Pipeline(stages, tmp_path, 1).run()
    assert len(commands) == 3
    assert capsys.readouterr().out.count("finished before") == 2


def test_a_failed_stage_stops_and_is_continued_from_its_checkpoint(tmp_path, commands):
    stages = {"a": Stage("train"), "b": Stage("train", ["fail"]), "c": Stage("train")}
    with pytest.raises(UserError, match=r"stage b failed: hello \(all of it: .*b/log\.txt\)"):
        Pipeline(stages, tmp_path, 1).run()
    assert [words[-1].rsplit("/", 1)[1] for words in commands] == ["a", "b"]
    (tmp_path / "b/checkpoints").mkdir()
    last = tmp_path / "b/checkpoints/last.ckpt"
    last.write_bytes(b"")
    commands.clear()
    with pytest.raises(UserError, match="stage b failed"):
        Pipeline(stages, tmp_path, 1).run()
    assert commands == [["train", "fail", f"hydra.run.dir={tmp_path / 'b'}", f"resume={last}"]]


def test_a_rehearsal_takes_the_first_seed_and_a_few_more_options():
    stage = Stage("train", ["x=1"], seeds=[3, 4], shown=True).rehearsed(["trainer.max_steps=4"])
    assert stage == Stage("train", ("x=1", "trainer.max_steps=4"), seeds=[3], shown=True)


def test_a_stage_of_other_options_is_refused_before_anything_runs(tmp_path, commands):
    Pipeline({"a": Stage("train", ["x=1"])}, tmp_path, 1).run()
    with pytest.raises(UserError, match="run with other options: choose another out="):
        Pipeline({"new": Stage("train"), "a": Stage("train", ["x=2"])}, tmp_path, 1)
    assert len(commands) == 1


def test_seeds_side_by_side_share_the_cores_and_the_table_shows_all(tmp_path, commands, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    stages = {"s": Stage("train", ["score=1.5"], seeds=[3, 4], shown=True), "hidden": Stage("train", ["score=9"])}
    Pipeline(stages, tmp_path, 2).run()
    assert sorted(words[2] for words in commands[:2]) == ["seed=3", "seed=4"]
    shown = capsys.readouterr().out
    assert "1.500 (1.50, 1.50)" in shown and "9.000" not in shown and "swap gain" in shown


@pytest.mark.parametrize(
    ("stages", "jobs", "said"),
    [({}, 1, "no stages"), ({"a": None}, 1, "no stages"), ({"a": Stage("train")}, 0, "jobs=0")],
)
def test_nothing_to_do_is_said(stages, jobs, said, tmp_path):
    with pytest.raises(UserError, match=said):
        Pipeline(stages, tmp_path, jobs)
