"""The command line as a user meets it."""

import errno
import json
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from idn import cli
from idn.errors import UserError

FAST = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.max_steps=2"]
FAST += ["trainer.val_check_interval=2", "trainer.accelerator=cpu"]


@pytest.fixture
def idn_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `idn ...` in this process, in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["idn", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        return status, *capsys.readouterr()

    return call


def test_help_lists_every_verb(idn_cli) -> None:
    status, out, _ = idn_cli("--help")
    assert status == 0
    assert all(f"  {verb} " in out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_of_a_verb_shows_its_options_and_config(verb: str, idn_cli) -> None:
    status, out, _ = idn_cli(verb, "--help")
    assert status == 0
    assert f"idn {verb}" in out and "config (change any value as key=value)" in out


def test_a_mistyped_verb_gets_a_hint(idn_cli) -> None:
    status, _, err = idn_cli("trian")
    assert status == 2 and "did you mean train?" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.max_stepz=3"], "max_stepz"),
        (["teacher=nobody"], "teacher/nobody"),
        (["data.size=big"], "data.size=big is not a number"),
        (["data.size=100"], "data.size=100 is not divisible by 32"),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt does not exist"),
        (["data=faces", "data.root=nowhere"], "nowhere"),
        (["data=faces"], "data.root"),
        (["identity=mobilefacenet"], "identity.weights"),
        (["reweight=identity_quality"], "reweight.scorer.weights"),
        (["teacher.wrong_identity=2"], "wrong_identity"),
    ],
)
def test_bad_options_get_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, out, err = idn_cli("train", *FAST, *words)
    assert status != 0
    assert said in out + err and "Traceback" not in out + err
    assert len((out + err).strip().splitlines()) == 1, "one sentence"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is asked for")
def test_a_gpu_that_is_not_there_gets_one_sentence(idn_cli) -> None:
    status, _, err = idn_cli("train", *FAST, "trainer.accelerator=gpu")
    assert status == 2 and "the trainer cannot work like this" in err and len(err.strip().splitlines()) == 1


def test_weights_of_another_architecture_are_refused(idn_cli, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    status, _, err = idn_cli("train", *FAST, "identity=mobilefacenet", "identity.weights=other.pt")
    assert status == 2 and "other.pt" in err and len(err.strip().splitlines()) == 1


def test_train_writes_student_metrics_and_picture_and_says_where(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train", *FAST, "hydra.run.dir=run")
    assert status == 0, err
    for name in (
        "student.safetensors",
        "summary.json",
        "metrics/metrics.csv",
        "checkpoints/last.ckpt",
        "config/config.yaml",
    ):
        assert (tmp_path / "run" / name).is_file()
    assert list((tmp_path / "run/pictures").glob("*.png"))
    assert "val/swap_gain" in json.loads((tmp_path / "run/summary.json").read_text())
    assert out.strip().splitlines()[-1].startswith("next: idn train data.size=32 ")
    status, out, err = idn_cli("train", *FAST, "resume=run/checkpoints/last.ckpt", "trainer.max_steps=4")
    assert status == 0, err


def test_a_run_that_ends_between_validations_is_validated_and_saved_at_its_end(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train", *FAST, "trainer.max_steps=3", "hydra.run.dir=run")
    assert status == 0, err
    assert "after 3 steps" in out and (tmp_path / "run/pictures/step_000003.png").is_file()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_the_student_file_says_where_it_comes_from(idn_cli, tmp_path: Path) -> None:
    from safetensors import safe_open

    idn_cli("train", *FAST, "hydra.run.dir=run")
    with safe_open(tmp_path / "run/student.safetensors", "pt") as file:
        notes = file.metadata()
    assert notes["teacher"] == "procedural" and notes["teacher_licence"] and notes["identity_encoder_licence"]


def test_multirun_makes_one_run_per_value(idn_cli, tmp_path: Path) -> None:
    status, _, err = idn_cli("train", *FAST, "-m", "reweight=none,identity", "hydra.sweep.dir=sweep")
    assert status == 0, err
    assert {path.parent.name for path in (tmp_path / "sweep").glob("*/summary.json")} == {"0", "1"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (cli.conf_dir() / "experiment").glob("*.yaml")))
def test_every_experiment_trains(name: str, idn_cli) -> None:
    status, _, err = idn_cli("train", f"experiment={name}", *FAST)
    assert status == 0, err


def test_identity_trains_an_encoder_that_train_accepts(idn_cli) -> None:
    small = ["identity_data.size=32", "identity_data.batch=8", "identity_data.identities=12", "identity_data.workers=0"]
    small += ["identity_data.pairs=40", "network.width=0.25", "trainer.max_steps=2", "trainer.accelerator=cpu"]
    status, out, err = idn_cli("identity", *small, "hydra.run.dir=who")
    assert status == 0, err
    assert out.strip().splitlines()[-1].endswith("who/identity_encoder.safetensors")
    status, _, err = idn_cli("train", *FAST, "identity.weights=who/identity_encoder.safetensors")
    assert status == 0, err


def test_import_refuses_what_is_no_published_checkpoint(idn_cli, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    status, _, err = idn_cli("import", "in=other.pt", "out=student.safetensors")
    assert status == 2 and "neither MobileFaceSwap" in err and len(err.strip().splitlines()) == 1
    status, _, err = idn_cli("import", "in=other.pt")
    assert status == 2 and "out" in err


@pytest.mark.slow
def test_the_student_can_be_compiled(idn_cli) -> None:
    status, _, err = idn_cli("train", *FAST, "distill.compile=true")
    assert status == 0, err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("give a folder"), "give a folder"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (FileNotFoundError(2, "No such file or directory", "x.jpg"), "x.jpg"),
    ],
)
def test_errors_of_the_user_end_with_status_2(error: Exception, said: str, capsys) -> None:
    def task(cfg: DictConfig) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.guarded(task)(DictConfig({}))
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_defects_of_the_program_keep_their_traceback() -> None:
    def task(cfg: DictConfig) -> None:
        raise OSError("unexpected")

    with pytest.raises(OSError, match="unexpected"):
        cli.guarded(task)(DictConfig({}))
