"""Sequences of commands: order, skipping, seeds, failures. The commands themselves are replaced by notes."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from idn.errors import DamagedFile, ForeignFile, OptionError, UserError
from idn.pipeline import pipeline
from idn.pipeline.pipeline import Pipeline, Stage
from idn.pipeline.subprocesses import StageError
from tests.raising import raises


def product(path: Path) -> None:
    """What a stage leaves, as far as a pipeline looks at it."""
    if path.suffix == ".json":
        path.write_text('{"error": {"mean": 0}}')
    else:
        save_file({"x": torch.zeros(4)}, path)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run. A command whose options hold "fail" fails; one with "score=X" leaves a summary.

    All but those with "nothing" leave a product.
    """
    called: list[list[str]] = []

    def run(self, command, log, environment) -> int:
        words = list(command[3:])
        called.append(words)
        log.write_text("hello\n\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n")
        for word in words:
            if word.startswith("score="):
                (log.parent / "summary.json").write_text(
                    json.dumps({"val/swap_gain": float(word[6:]), "val/loss": 1.0})
                )
        if "nothing" not in words and "fail" not in words:
            product(log.parent / pipeline.PRODUCTS[words[0]])
        status = [int(word[7:]) for word in words if word.startswith("status=")]
        return status[0] if status else int("fail" in words)

    monkeypatch.setattr(pipeline.Children, "run", run)
    return called


def test_stages_run_in_order_each_in_its_folder(tmp_path, commands):
    stages = {"a": Stage("train-teacher", ["x=1"]), "b": Stage("cache", ["y=2"], folder="out"), "skipped": None}
    Pipeline(stages, tmp_path, 1).run()
    assert commands == [
        ["train-teacher", "x=1", f"hydra.run.dir={tmp_path / 'a'}"],
        ["cache", "y=2", f"out={tmp_path / 'b'}"],
    ]
    assert (tmp_path / "a/log.txt").read_text().startswith("hello")


def test_finished_stages_are_not_run_again(tmp_path, commands, capsys):
    stages = {"a": Stage("train-teacher", ["x=1"]), "b": Stage("train", seeds=[0, 1])}
    Pipeline(stages, tmp_path, 1).run()
    assert len(commands) == 3
    Pipeline(stages, tmp_path, 1).run()
    assert len(commands) == 3
    assert capsys.readouterr().out.count("finished before") == 2


def test_a_failed_stage_stops_and_is_continued_from_its_checkpoint(tmp_path, commands):
    stages = {"a": Stage("train"), "b": Stage("train", ["fail"]), "c": Stage("train")}
    with raises(StageError, "hello", stage="b", log=tmp_path / "b/log.txt"):
        Pipeline(stages, tmp_path, 1).run()
    assert [words[-1].rsplit("/", 1)[1] for words in commands] == ["a", "b"]
    (tmp_path / "b/checkpoints").mkdir()
    last = tmp_path / "b/checkpoints/last.ckpt"
    last.write_bytes(b"")
    commands.clear()
    with raises(StageError, stage="b"):
        Pipeline(stages, tmp_path, 1).run()
    assert commands == [["train", "fail", f"hydra.run.dir={tmp_path / 'b'}", f"resume={last}"]]


def test_the_newest_state_is_continued(tmp_path, commands):
    with pytest.raises(UserError):
        Pipeline({"a": Stage("train", ["fail"])}, tmp_path, 1).run()
    (tmp_path / "a/checkpoints").mkdir()
    for age, name in enumerate(("last_good", "last")):
        path = tmp_path / f"a/checkpoints/{name}.ckpt"
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    with pytest.raises(UserError):
        Pipeline({"a": Stage("train", ["fail"])}, tmp_path, 1).run()
    assert commands[-1][-1] == f"resume={tmp_path / 'a/checkpoints/last_good.ckpt'}"


def test_what_was_made_from_a_deleted_result_is_not_taken_for_finished(tmp_path, commands):
    def stages() -> dict[str, Stage]:
        return {
            "teacher": Stage("train-teacher"),
            "cache": Stage("cache", ["teacher=trained_here"], needs=["teacher"], folder="out"),
            "alone": Stage("train", ["x=1"]),
        }

    Pipeline(stages(), tmp_path, 1).run()
    shutil.rmtree(tmp_path / "teacher")
    with raises(ForeignFile, path=tmp_path / "cache"):
        Pipeline(stages(), tmp_path, 1)
    shutil.rmtree(tmp_path / "cache")
    commands.clear()
    Pipeline(stages(), tmp_path, 1).run()
    assert [words[0] for words in commands] == ["train-teacher", "cache"]
    shutil.rmtree(tmp_path / "teacher")
    Pipeline({"teacher": stages()["teacher"]}, tmp_path, 1).run()
    with raises(ForeignFile, path=tmp_path / "cache"):
        Pipeline(stages(), tmp_path, 1)


def test_an_unfinished_stage_is_not_continued_with_other_options(tmp_path, commands):
    with raises(StageError, stage="a"):
        Pipeline({"a": Stage("train", ["fail"])}, tmp_path, 1).run()
    with raises(ForeignFile, "out=", path=tmp_path / "a"):
        Pipeline({"a": Stage("train", ["x=2"])}, tmp_path, 1)


def test_a_fresh_pipeline_deletes_its_own_folders_alone(tmp_path, commands):
    Pipeline({"a": Stage("train", ["x=1"])}, tmp_path, 1).run()
    (tmp_path / "a/old").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").touch()
    Pipeline({"a": Stage("train", ["x=2"]), "b": Stage("train")}, tmp_path, 1, fresh=True).run()
    assert not (tmp_path / "a/old").exists() and (tmp_path / "b/mine.txt").is_file() and len(commands) == 3


def test_only_runs_side_by_side_share_the_cores(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline.Children, "run", lambda self, words, log, env: seen.append(env.get("OMP_NUM_THREADS")))
    monkeypatch.setattr(pipeline.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for stages in ({"a": Stage("train")}, {"b": Stage("train", seeds=[0, 1, 2])}):
        with contextlib.suppress(UserError):
            Pipeline(stages, tmp_path, 2).run()
    assert seen == [None, "4", "4", "4"]


def test_two_pipelines_do_not_share_a_folder(tmp_path, commands):
    with FileLock(tmp_path / ".lock"), raises(UserError, str(tmp_path)):
        Pipeline({"a": Stage("train")}, tmp_path, 1).run()
    assert not commands


def test_a_fresh_pipeline_deletes_nothing_while_another_one_works_there(tmp_path, commands):
    Pipeline({"a": Stage("train")}, tmp_path, 1).run()
    with FileLock(tmp_path / ".lock"), raises(UserError, str(tmp_path)):
        Pipeline({"a": Stage("train")}, tmp_path, 1, fresh=True).run()
    assert (tmp_path / "a/stage.json").is_file()


def test_a_rehearsal_takes_the_first_seed_and_a_few_more_options():
    stage = Stage("train", ["x=1"], seeds=[3, 4], shown=True).rehearsed(["trainer.max_steps=4"])
    assert stage == Stage("train", ("x=1", "trainer.max_steps=4"), seeds=[3], shown=True)


def test_a_stage_of_other_options_is_refused_before_anything_runs(tmp_path, commands):
    Pipeline({"a": Stage("train", ["x=1"])}, tmp_path, 1).run()
    with raises(ForeignFile, "out=", path=tmp_path / "a"):
        Pipeline({"new": Stage("train"), "a": Stage("train", ["x=2"])}, tmp_path, 1)
    assert len(commands) == 1


def test_seeds_side_by_side_share_the_cores_and_the_table_shows_all(tmp_path, commands, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    stages = {"s": Stage("train", ["score=1.5"], seeds=[3, 4], shown=True), "hidden": Stage("train", ["score=9"])}
    Pipeline(stages, tmp_path, 2).run()
    assert sorted(words[2] for words in commands[:2]) == ["seed=3", "seed=4"]
    shown = capsys.readouterr().out
    assert "1.500 (1.50, 1.50)" in shown and "9.000" not in shown and "swap gain" in shown


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff", b'{"val/swap_gain": null}'])
def test_a_damaged_summary_leaves_its_place_in_the_table_empty(content, tmp_path, commands, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    stages = {"s": Stage("train", ["score=1.5"], seeds=[3, 4], shown=True)}
    Pipeline(stages, tmp_path, 1).run()
    (tmp_path / "s_3/summary.json").write_bytes(content)
    capsys.readouterr()
    Pipeline(stages, tmp_path, 1).run()
    shown = capsys.readouterr().out
    assert "1.500" in shown and "(1.50" not in shown


@pytest.mark.parametrize("seeds", [3, 0, ["a"], [1, 1], [1.5]])
def test_seeds_are_different_whole_numbers(seeds):
    with raises(OptionError, argument="seeds", value=seeds):
        Stage("train", seeds=seeds)


@pytest.mark.parametrize(("stages", "jobs"), [({}, 1), ({"a": None}, 1), ({"a": Stage("train")}, 0)])
def test_nothing_to_do_is_said(stages, jobs, tmp_path):
    with raises(UserError) if jobs else raises(OptionError, argument="jobs", value=0):
        Pipeline(stages, tmp_path, jobs)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-3]), None])
def test_a_stage_is_finished_when_its_product_is_whole(damage, tmp_path, commands):
    stages = {"a": Stage("train"), "b": Stage("cache", folder="out"), "c": Stage("train", ["x=1"])}
    Pipeline(stages, tmp_path, 1).run()
    commands.clear()
    if damage is not None:
        damage(tmp_path / "a/student.safetensors")
        (tmp_path / "b/cache.json").write_text('{"error": null}')
    Pipeline(stages, tmp_path, 1).run()
    assert [words[0] for words in commands] == ([] if damage is None else ["train", "cache"])


def test_a_command_that_ends_well_without_its_product_has_not_finished(tmp_path, commands):
    stages = {"a": Stage("train", ["nothing"]), "b": Stage("train")}
    for _ in range(2):
        with raises(StageError, "student.safetensors", stage="a"):
            Pipeline(stages, tmp_path, 1).run()
    assert [words[1] for words in commands] == ["nothing", "nothing"]


@pytest.mark.parametrize("status", [130, 143])
def test_a_command_that_was_stopped_stops_the_pipeline_with_its_status_and_the_way_on(
    status, tmp_path, commands, capsys
):
    stages = {"a": Stage("train", [f"status={status}"]), "b": Stage("train")}
    with pytest.raises(SystemExit) as stop:
        Pipeline(stages, tmp_path, 1).run()
    assert len(commands) == 1 and stop.value.code == status
    assert capsys.readouterr().err == "stopped in stage a: the same command goes on there\n"


def test_a_pipeline_that_was_told_to_stop_ends_with_the_status_of_the_signal(tmp_path, monkeypatch):
    def told(self, words, log, environment) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 130  # commands are interrupted, whatever the signal was

    monkeypatch.setattr(pipeline.Children, "run", told)
    with pytest.raises(SystemExit) as stop:
        Pipeline({"a": Stage("train"), "b": Stage("train")}, tmp_path, 1).run()
    assert stop.value.code == 143


def test_what_a_stage_needs_is_named_and_comes_before_it(tmp_path, commands):
    for needs in (["later"], ["nobody"], ["b"]):
        with raises(OptionError, argument="stages.b.needs"):
            Pipeline({"a": Stage("train"), "b": Stage("train", needs=needs), "later": Stage("train")}, tmp_path, 1)
    Pipeline({"a": None, "b": Stage("train", needs=["a"])}, tmp_path, 1).run()


def test_a_damaged_note_of_a_stage_is_one_sentence(tmp_path, commands):
    Pipeline({"a": Stage("train")}, tmp_path, 1).run()
    for content in ("", "{", "[]", "{}"):
        (tmp_path / "a/stage.json").write_text(content)
        with raises(DamagedFile, path=tmp_path / "a/stage.json"):
            Pipeline({"a": Stage("train")}, tmp_path, 1)
