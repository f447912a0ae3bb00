"""Runs from start to end as a user meets them: what is left of one that died, and where it goes on."""

import io
import json
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from idn import cli
from idn.files.tensors import read_metadata

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "trainer.accelerator=cpu"]
SHORT = ["trainer.max_steps=2", "trainer.val_check_interval=2"]
TRAIN = [*SMALL, "student.width=0.25"]
TEACHER = [*SMALL, "teacher_network.width=4", "discriminator.width=4"]
IDENTITY = ["encoder_data.size=32", "encoder_data.batch=8", "encoder_data.identities=12", "encoder_data.workers=0"]
IDENTITY += ["encoder_data.pairs=40", "encoder_network.width=0.25", "trainer.accelerator=cpu"]
QUALITY = ["data.size=32", "data.batch=4", "pairs=8", "val_pairs=4", "batch=8", "trainer.accelerator=cpu"]
QUALITY += ["graded=degradations", "graded.levels=3", "scorer.size=32"]
VERBS = {
    "train": (TRAIN, "student"),
    "train-teacher": (TEACHER, "teacher"),
    "train-scorer": (QUALITY, "scorer"),
    "train-encoder": (IDENTITY, "encoder"),
}


Finished = Callable[[str], tuple[Path, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The folder of a short run of a verb, with spaces in its name, and what was printed; for all tests to see."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def run(verb: str) -> tuple[Path, str]:
        words, name = VERBS[verb]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["idn", verb, *words, *SHORT, f"hydra.run.dir='my run {name}'"])
            cli.main()
        return folder / f"my run {name}", out.getvalue()

    return run


@pytest.mark.parametrize(
    "verb",
    [
        "train",
        "train-encoder",
        pytest.param("train-teacher", marks=pytest.mark.slow),
        pytest.param("train-scorer", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_died_before_its_result_is_finished_from_its_last_checkpoint(
    verb: str, idn_cli, finished: Finished
) -> None:
    (words, name), (folder, _) = VERBS[verb], finished(verb)
    product, summary = folder / f"{name}.safetensors", folder / "summary.json"
    before, said = load_file(product), json.loads(summary.read_text())
    assert any(key.startswith("val/") for key in said)
    product.unlink()
    summary.unlink()
    resume = f"resume='{folder}/checkpoints/last.ckpt'"
    status, out, err = idn_cli(verb, *words, *SHORT, resume, f"hydra.run.dir='{folder}'")
    assert status == 0 and "next: idn train " in out, err
    after = load_file(product)
    assert after.keys() == before.keys() and all(torch.equal(value, after[key]) for key, value in before.items())
    assert json.loads(summary.read_text()) == pytest.approx(said) if verb != "train-scorer" else summary.is_file()
    status, out, err = idn_cli(verb, *words, "trainer.max_steps=1", resume)
    assert status == 2 and "is at step 2: give the run more steps" in out + err


def test_a_teacher_finished_in_another_folder_has_its_snapshots(idn_cli, finished: Finished, tmp_path: Path) -> None:
    folder, _ = finished("train-teacher")
    again = [f"resume='{folder}/checkpoints/last.ckpt'", "hydra.run.dir=b"]
    status, _, err = idn_cli("train-teacher", *TEACHER, *SHORT, *again)
    assert status == 0, err
    a, b = ({p.name: read_metadata(p) for p in (run / "snapshots").iterdir()} for run in (folder, tmp_path / "b"))
    assert a == b and len(a) == 7 and {notes["max_steps"] for notes in a.values()} == {"2"}
    assert (tmp_path / "b/checkpoints/last.ckpt").is_file()


@pytest.mark.parametrize("verb", ["train", pytest.param("train-teacher", marks=pytest.mark.slow)])
def test_a_metric_that_was_never_logged_costs_no_result(verb: str, idn_cli, tmp_path: Path) -> None:
    words, name = VERBS[verb]
    status, out, err = idn_cli(verb, *words, *SHORT, "metric=val/beauty", "hydra.run.dir=run")
    assert status == 2 and "metric=val/beauty was not logged: choose one of val/" in err
    assert " val/identity_swap," in err
    assert (tmp_path / "run" / f"{name}.safetensors").is_file() and (tmp_path / "run/summary.json").is_file()
    assert "next: idn train " in out


def test_the_curve_survives_a_resumed_run_and_a_refused_one(idn_cli, tmp_path: Path) -> None:
    words = [*TRAIN, "trainer.log_every_n_steps=1", "callbacks.trust.every=1", "hydra.run.dir=run"]

    def steps() -> tuple[list[int], list[int]]:
        rows = [line.split(",") for line in (tmp_path / "run/metrics/metrics.csv").read_text().splitlines()]
        step, loss = rows[0].index("step"), rows[0].index("train/loss")
        lines = (tmp_path / "run/trust.jsonl").read_text().splitlines()
        return [int(row[step]) for row in rows[1:] if row[loss]], [json.loads(line)["step"] for line in lines]

    assert idn_cli("train", *words, *SHORT)[0] == 0
    resume = "resume=run/checkpoints/last.ckpt"
    for refused in (["student.width=0.5", "trainer.max_steps=4"], ["trainer.max_steps=1"]):
        assert idn_cli("train", *words, *refused, resume)[0] == 2
        assert steps() == ([0, 1], [1, 2])
    status, _, err = idn_cli("train", *words, "trainer.max_steps=4", "trainer.val_check_interval=2", resume)
    assert status == 0, err
    assert steps() == ([0, 1, 2, 3], [1, 2, 3, 4])


def test_commands_to_paste_survive_folders_with_spaces(finished: Finished) -> None:
    printed = []
    for verb, (_, name) in VERBS.items():
        folder, out = finished(verb)
        for line in out.splitlines():
            if line.startswith(("next: idn ", "to a phone: idn ")):
                printed += shlex.split(line.split(": ", 1)[1].split("   or ")[0])
        path = folder / f"{name}.safetensors"
        assert path.is_file() and any(word.endswith(f"={path}") for word in printed), printed
    assert not any(word.startswith("run") for word in printed)


@pytest.mark.parametrize("steps", [0, -1])
@pytest.mark.parametrize("verb", VERBS)
def test_a_run_without_steps_is_refused(steps: int, verb: str, idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli(verb, *VERBS[verb][0], f"trainer.max_steps={steps}")
    assert status == 2 and "trainer.max_steps" in err and "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("train", "distillation.ema_decay=1", "ema_decay=1 must be at least 0 and below 1"),
        ("train-teacher", "teacher_training.ema_decay=-0.5", "ema_decay=-0.5 must be at least 0"),
        ("train-encoder", "encoder_training.folds=1", "encoder_training.folds=1 must be a whole number, at least 2"),
        ("train-encoder", "encoder_training.margin=2", "encoder_training.margin=2 must be a number from 0 to 1.57"),
        ("train-encoder", "encoder_data.pairs=10", "encoder_training.folds=10 is more than the 5 verification pairs"),
        ("train", "callbacks.last.every=0", "callbacks.last.every=0 must be a whole number, at least 1"),
    ],
)
def test_values_that_cannot_be_get_one_sentence(verb: str, word: str, said: str, idn_cli) -> None:
    status, out, err = idn_cli(verb, *VERBS[verb][0], *SHORT, word)
    assert status == 2 and said in err and "Traceback" not in out + err


def test_too_few_pairs_to_verify_are_noticed_before_the_first_step(idn_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idn.training.fit.start", lambda *_: pytest.fail("it trains"))
    words = ("encoder_data.pairs=19", "encoder_training.folds=10")
    status, _, err = idn_cli("train-encoder", *VERBS["train-encoder"][0], *SHORT, *words)
    assert status == 2 and "encoder_training.folds=10 is more than the 9 verification pairs of one kind" in err, err
