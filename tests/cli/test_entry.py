"""The command line as a user meets it."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from idn import cli
from idn.cli import launch
from idn.errors import UserError

FAST = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.max_steps=2"]
FAST += ["trainer.val_check_interval=2", "trainer.accelerator=cpu"]


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
        (
            ["trainer.max_stepz=3"],
            "there is no option trainer.max_stepz: did you mean trainer.max_steps? (+trainer.max",
        ),
        (["max_steps=3"], "did you mean trainer.max_steps?"),
        (["data.root=photos"], "there is no option data.root: it belongs to data=faces"),
        (["teacher=procedual"], "there is no teacher=procedual: did you mean procedural? or choose of blend, cached,"),
        (["experiment=nobody"], "there is no experiment=nobody: choose of idn_both, idn_triplets, "),
        (["trainer.max_steps=many"], "trainer.max_steps=many is not a number: it is 1000 where nothing is given"),
        (["optim.lr=little"], "optim.lr=little is not a number"),
        (["loss.fading.identity=9"], "write +loss.fading.identity=VALUE, to add it to a table that is empty"),
        (["loss.weights.pixle=3"], "did you mean loss.weights.pixel?"),
        (["reweight=none,identity"], "use -m for a run per value"),
        (["experiment=paper_simswap"], "it is for idn pipeline"),
        (["experiment=pipeline_small"], "it is for idn pipeline"),
        (["teacher=3"], "there is no teacher=3: choose of"),
        (["seed"], "'seed' is no option: write name=value"),
        (["=3"], "'=3' is no option: write name=value"),
        (["encoder.weights=/no=where/it's, (there).pt"], "/no=where/it's, (there).pt"),
        (["data.size=big"], "data.size=big is not a number"),
        (["data.size=100"], "data.size=100 is not divisible by 32"),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt does not exist"),
        (["data=faces", "data.root=nowhere"], "nowhere"),
        (["data=faces"], "data.root"),
        (["encoder=mobilefacenet"], "encoder.weights"),
        (["reweight=identity_quality"], "reweight.scorer=null"),
        (["teacher.wrong_identity=2"], "wrong_identity"),
        (["--max_steps=5"], "write trainer.max_steps=5, without --"),
        (["-m", "trainer.max_step=5"], "there is no option trainer.max_step: did you mean trainer.max_steps?"),
        (["-m", "trainer.max_steps=1,abc"], "trainer.max_steps=abc is not a number"),
        (["-m", "teacher=procedural,ghost_1block"], "teacher=ghost_1block needs G_unet_1block.pth and backbone.pth"),
        (["hydra.run.dir=/proc/nope"], "hydra.run.dir=/proc/nope cannot be written"),
        (["+trainer.max_stepz=3"], "trainer cannot be made from these options: "),
        (
            ["trainer.accelerator=tpux"],
            "You selected an invalid accelerator name: `accelerator='tpux'`. Available names",
        ),
        (["trainer.precision=fp16"], "Precision 'fp16' is invalid. Allowed precision values"),
        (["optim.lr=nan"], "optim cannot be made from these options: Invalid learning rate: nan"),
        (["optim.betas=[2,3]"], "optim cannot be made from these options: Invalid beta parameter"),
        (["loss=paper", "loss.fading.coverage=-1"], "loss.fading.coverage=-1 must be a number, at least 0"),
        (["resume=."], "resume=. is a folder without checkpoints/last.ckpt"),
    ],
)
def test_bad_options_get_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, out, err = idn_cli("train", *FAST, *words)
    assert status != 0
    assert said in out + err and "Traceback" not in out + err
    assert len((out + err).strip().splitlines()) == 1, "one sentence"
    assert not list(Path.cwd().rglob("config")), "nothing is left of a run that never began"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is asked for")
def test_a_gpu_that_is_not_there_gets_one_sentence(idn_cli) -> None:
    status, _, err = idn_cli("train", *FAST, "trainer.accelerator=gpu")
    assert status == 2 and "found: trainer.accelerator=auto takes what this machine has" in err and err.count("\n") == 1


def test_weights_of_another_architecture_are_refused(idn_cli, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    status, _, err = idn_cli("train", *FAST, "encoder=mobilefacenet", "encoder.weights=other.pt")
    assert status == 2 and "other.pt" in err and len(err.strip().splitlines()) == 1


def test_train_writes_student_metrics_and_picture_and_says_where(idn_cli, tmp_path: Path) -> None:
    from safetensors import safe_open

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
    assert out.count("teacher: procedural; licence: Apache-2.0") == 1 and "commercial use allowed" in out
    with safe_open(tmp_path / "run/student.safetensors", "pt") as file:
        notes = file.metadata()
    assert notes["teacher"] == "procedural" and notes["teacher_licence"] and notes["encoder_licence"]
    status, out, err = idn_cli("train", *FAST, "resume=run", "trainer.max_steps=4")
    assert status == 0, err


def test_a_run_that_ends_between_validations_is_validated_and_saved_at_its_end(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train", *FAST, "trainer.max_steps=3", "hydra.run.dir=run")
    assert status == 0, err
    assert "after 3 steps" in out and (tmp_path / "run/pictures/step_000003.png").is_file()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_the_last_checkpoint_is_the_last_even_when_nothing_gets_better(idn_cli, tmp_path: Path) -> None:
    words = [*FAST, "trainer.max_steps=6", "callbacks.best.monitor=val/identity_target", "hydra.run.dir=run"]
    status, _, err = idn_cli("train", *words)
    assert status == 0, err
    saved = {
        name: torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    }
    assert saved["last"] == 6 and saved["best"] < 6


def test_multirun_makes_one_run_per_value(idn_cli, tmp_path: Path) -> None:
    status, _, err = idn_cli("train", *FAST, "-m", "reweight=none,identity", "hydra.sweep.dir=sweep")
    assert status == 0, err
    assert {path.parent.name for path in (tmp_path / "sweep").glob("*/summary.json")} == {"0", "1"}


@pytest.mark.parametrize(
    "name",
    sorted(
        path.stem
        for path in (cli.conf_dir() / "experiment").glob("*.yaml")
        if not {"stages", "defaults"} & OmegaConf.load(path).keys()  # those are for `idn pipeline`
    ),
)
def test_every_experiment_trains(name: str, idn_cli) -> None:
    status, _, err = idn_cli("train", f"experiment={name}", *FAST)
    assert status == 0, err


def test_identity_trains_an_encoder_that_train_accepts(idn_cli) -> None:
    small = ["encoder_data.size=32", "encoder_data.batch=8", "encoder_data.identities=12", "encoder_data.workers=0"]
    small += ["encoder_data.pairs=40", "encoder_network.width=0.25", "trainer.max_steps=2", "trainer.accelerator=cpu"]
    status, out, err = idn_cli("train-encoder", *small, "hydra.run.dir=who")
    assert status == 0, err
    assert out.strip().splitlines()[-1].endswith("who/encoder.safetensors")
    status, _, err = idn_cli("train", *FAST, "encoder.weights=who/encoder.safetensors")
    assert status == 0, err


def test_import_refuses_what_is_no_published_checkpoint(idn_cli, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    status, _, err = idn_cli("import", "in=other.pt", "out=student.safetensors")
    assert status == 2 and len(err.strip().splitlines()) == 1
    assert err.startswith("idn: other.pt does not fit") and "give MobileFaceSwap_224.pdparams of the published" in err
    status, _, err = idn_cli("import", "in=other.pt")
    assert status == 2 and err == "idn: out has no value yet: write idn import in=FILE out=FILE.safetensors\n"


def test_a_student_trains_from_kept_answers_and_its_file_names_the_teacher(idn_cli, tmp_path: Path) -> None:
    from safetensors import safe_open

    same = FAST[:3]
    status, out, err = idn_cli("cache", *same, "out=kept", "pairs=7", "shard=4")
    assert status == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "cache.json",
        "train-00000.safetensors",
        "train-00001.safetensors",
        "val-00000.safetensors",
    ]
    assert "8 to train with, 2 held out" in out
    assert out.strip().splitlines()[-1] == f"next: idn train {' '.join(same)} teacher=cached teacher.path=kept"
    status, out, err = idn_cli("train", *FAST, "teacher=cached", "teacher.path=kept", "hydra.run.dir=run")
    assert status == 0, err
    with safe_open(tmp_path / "run/student.safetensors", "pt") as file:
        notes = file.metadata()
    assert notes["teacher"] == "procedural" and "Apache-2.0" in notes["teacher_licence"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers to four pairs."""
    folder = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["idn", "cache", *FAST[:3], "out=kept", "pairs=4"])
        cli.main()
    return folder / "kept"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cache", "out=kept", "pairs=9"], "out=kept was begun with pairs=4, not 9"),
        (["cache", "out=kept", "pairs=4", "data.same_ratio=0.5"], "data.same_ratio=0.0, not 0.5"),
        (["cache", "out=other", "picture_format=bmp"], "picture_format=bmp is unknown"),
        (["cache", "pairs=4"], "out"),
        (["cache", "out=other", "reweight=identity_quality"], "scorer"),
        (["train", "teacher=cached"], "teacher.path"),
        (["train", "teacher=cached", "teacher.path=nowhere"], "nowhere/cache.json is missing"),
        (["train", "teacher=cached", "teacher.path=kept", "seed=1"], "pair 0 is not the one that was cached"),
        (
            ["train", "teacher=cached", "teacher.path=kept", "data.val_batches=2"],
            "data.val_batches=2 are 4 held-out pairs",
        ),
    ],
)
def test_a_cache_that_does_not_fit_gets_one_sentence(
    words: list[str], said: str, kept: Path, idn_cli, tmp_path: Path
) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    status, out, err = idn_cli(words[0], *FAST[: 3 if words[0] == "cache" else None], *words[1:])
    assert status != 0
    assert said in out + err and len((out + err).strip().splitlines()) == 1, "one sentence"


@pytest.mark.slow
def test_the_student_can_be_compiled(idn_cli) -> None:
    status, _, err = idn_cli("train", *FAST, "distillation.compile=true")
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
        launch.guarded(task)(DictConfig({}))
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_an_error_in_a_loader_process_is_told_without_its_traceback() -> None:
    wrapped = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File"
    assert (
        launch.explain(UserError(f"{wrapped}\nidn.errors.UserError: pair 5 is another one\n"))
        == "pair 5 is another one"
    )


def test_defects_of_the_program_keep_their_traceback() -> None:
    def task(cfg: DictConfig) -> None:
        raise OSError("unexpected")

    with pytest.raises(OSError, match="unexpected"):
        launch.guarded(task)(DictConfig({}))


def test_teachers_lists_all_and_says_which_files_are_there(idn_cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/latest_net_G.pth").write_bytes(b"")
    status, out, _ = idn_cli("teachers", f"weights_dir={tmp_path / 'mine'}")
    assert status == 0
    assert all(path.stem in out for path in (cli.conf_dir() / "teacher").glob("*.yaml"))
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert "yes" in rows["simswap_224"] and "no " in rows["simswap_512"]
    assert "crossface_ghost.onnx" in out
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_teachers_examines_one(idn_cli) -> None:
    status, out, _ = idn_cli("teachers", "check=procedural", "data.size=64")
    assert status == 0 and "own identity" in out and "passed" in out and "ms a face" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check=nobody"], "check=nobody is no teacher: choose one of blend, cached"),
        (["check=blend", "weights=soft.pth"], "teacher=blend has no file: leave weights=soft.pth out"),
        (["check=blend", "+teacher.soft=1"], "teacher=blend has no option soft: choose one of crop_template"),
        (["check=faceshifter", "weights=gone.ckpt"], "gone.ckpt does not exist"),
        (["check=blend", "device=abacus"], "device=abacus is not available"),
        (["check=procedural", "rounds=0"], "rounds=0 must be a whole number, at least 1"),
    ],
)
def test_teachers_refuses_in_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, _, err = idn_cli("teachers", *words)
    assert status == 2 and said in err and err.count("\n") == 1


RATED = ["data.size=32", "data.batch=4", "pairs=8", "val_pairs=4", "batch=8", "trainer.accelerator=cpu"]
RATED += ["trainer.max_steps=2", "trainer.val_check_interval=2"]

UNFINISHED = '''
import torch
from idn.files.tensors import read_metadata
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord

class Unfinished(FrozenTeacher):
    """Mixes the exact swap with the target, as far as its file says."""

    def __init__(self, weights, crop_template):
        super().__init__(TeacherRecord("unfinished", "CC0", True, FaceInput(), SourceInput("nothing")), crop_template)
        self.fraction = float(read_metadata(weights)["fraction"])
        self.freeze()

    def swap(self, target, batch, source):
        return target + self.fraction * (batch.truth - target)
'''


@pytest.fixture
def unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that make three stages of a teacher the source of rated pictures."""
    from safetensors.torch import save_file

    (tmp_path / "unfinished.py").write_text(UNFINISHED)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "snapshots").mkdir()
    for fraction in ("0.25", "0.5", "1.0"):
        save_file({"x": torch.zeros(1)}, tmp_path / "snapshots" / f"{fraction}.safetensors", {"fraction": fraction})
    return ["graded=snapshots", "graded.folder=snapshots", "graded.teacher._target_=unfinished.Unfinished"]


@pytest.mark.parametrize("kind", ["snapshots", "degradations"])
def test_quality_trains_a_scorer_that_train_trusts(kind: str, unfinished: list[str], idn_cli, tmp_path: Path) -> None:
    from safetensors import safe_open

    source = unfinished if kind == "snapshots" else ["graded=degradations", "graded.levels=3"]
    status, out, err = idn_cli("train-scorer", *RATED, *source, "hydra.run.dir=q")
    assert status == 0, err
    assert f"{kind} of " in out and "rank_truth" in out
    follow = out.strip().splitlines()[-1]
    assert follow.startswith("next: idn train data.size=32 data.batch=4 reweight=identity_quality reweight.scorer=")
    summary = json.loads((tmp_path / "q/summary.json").read_text())
    assert summary["kind"] == kind and {"val/loss", "val/rank_truth", "val/rank_truth_within"} <= set(summary)
    labels = [0.25, 0.5, 1] if kind == "snapshots" else [0, 0.5, 1]
    assert [level["label"] for level in summary["levels"]] == labels
    with safe_open(tmp_path / "q/scorer.safetensors", "pt") as file:
        notes = file.metadata()
    assert notes["kind"] == kind and notes["teacher"] and notes["teacher_licence"]
    assert notes["command"].startswith("idn train-scorer data.size=32 ") and json.loads(notes["metrics"]) == {
        key: value for key, value in summary.items() if key.startswith("val/")
    }
    if kind == "snapshots":
        return  # tests/teacher_cache/test_cached_verbs.py trains with such a scorer
    status, out, err = idn_cli(
        "train", *FAST, "reweight=identity_quality", "reweight.scorer=q/scorer.safetensors", "hydra.run.dir=run"
    )
    assert status == 0, err
    assert f"trained on {kind} of" in err
    with safe_open(tmp_path / "run/student.safetensors", "pt") as file:
        assert f"trained on {kind} of" in file.metadata()["quality_scorer"]


def test_a_stopped_training_of_a_scorer_goes_on_as_if_nothing_had_happened(idn_cli, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    words = [*RATED, "graded=degradations", "graded.levels=3", "schedule.total_steps=4"]
    assert idn_cli("train-scorer", *words, "trainer.max_steps=4", "hydra.run.dir=whole")[0] == 0
    assert idn_cli("train-scorer", *words, "hydra.run.dir=first")[0] == 0
    resume = ["trainer.max_steps=4", "resume=first/checkpoints/last.ckpt", "hydra.run.dir=second"]
    status, _, err = idn_cli("train-scorer", *words, *resume)
    assert status == 0, err
    whole, second = (load_file(tmp_path / name / "scorer.safetensors") for name in ("whole", "second"))
    assert all(torch.equal(value, second[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "graded.folder"),
        (["graded.folder=nowhere"], "graded.folder=nowhere holds 0 snapshots"),
        (["graded=guesses"], "there is no graded=guesses"),
        (["graded.folder=nowhere", "teacher=blend"], "teacher=blend has no effect with graded=snapshots"),
        (["graded=degradations", "graded.kinds=[frost]"], "graded.kinds=frost must be some of"),
        (["graded=degradations", "scorer.size=8"], "scorer.size=8"),
        (["graded=degradations", "scorer.backbone=gone.safetensors"], "gone.safetensors"),
        (["graded=degradations", "resume=gone.ckpt"], "resume=gone.ckpt does not exist"),
        (["graded=degradations", "pairs=0"], "pairs=0"),
    ],
)
def test_quality_refuses_in_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, out, err = idn_cli("train-scorer", *RATED, *words)
    assert status != 0
    assert said in out + err and len((out + err).strip().splitlines()) == 1, "one sentence"


def test_a_reader_who_has_had_enough_gets_no_traceback() -> None:
    code = """
import os
from omegaconf import OmegaConf
from idn.cli.launch import guarded
gone, ours = os.pipe()
os.close(gone)
os.dup2(ours, 1)
guarded(lambda cfg: print("all of it", flush=True))(OmegaConf.create({}))
"""
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_another_broken_pipe_than_that_of_the_output_is_no_success() -> None:
    def loses_a_process(cfg: DictConfig) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        launch.guarded(loses_a_process)(OmegaConf.create({}))


def test_a_cache_is_examined_as_far_as_it_can_be(idn_cli, tmp_path: Path) -> None:
    assert idn_cli("cache", *FAST[:3], "out=kept", "pairs=4", "shard=4")[0] == 0
    for word in ("weights=kept", "+teacher.path=kept"):
        status, out, err = idn_cli("teachers", "check=cached", word, *FAST[:3])
        assert status == 0, err
        assert "kept holds whole files with answers of procedural to these pairs" in out
        assert len(out.strip().splitlines()) == 1
    status, _, err = idn_cli("teachers", "check=cached")
    assert status == 2 and err == "idn: teacher=cached has no path yet: give weights=PATH\n"
