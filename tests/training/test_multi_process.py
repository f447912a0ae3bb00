"""Several devices: who takes which data, what is refused, and two real processes that train together on a CPU."""

import json
import os
import subprocess
import sys
import time
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch.utils.data import Dataset

from idn.cli import launch
from idn.data.loaders import StreamData
from idn.errors import OptionError, UserError
from idn.training import multi_process as processes
from idn.training.modules.finite_guard import FiniteGuard, NotFinite
from idn.training.multi_process import check_processes, check_single, mean_of_all, must_start
from tests.raising import raises

TINY = ["data.size=32", "data.batch=2", "data.val_batches=2", "student.width=0.25", "trainer.accelerator=cpu"]
TINY += ["trainer.max_steps=4", "trainer.val_check_interval=8"]  # the end is validated in any case
TWO = "trainer.devices=2"
SPOILED = """
import os, signal, sys
from pathlib import Path

if "LOCAL_RANK" in os.environ:
    Path("started").touch()
    from idn.data.procedural import ProceduralSwaps
    from idn.errors import UserError

    made = ProceduralSwaps.__getitem__

    def spoiled(self, item):
        batch = made(self, item)
        if self.seed == 0 and str(item) == os.environ["SPOILED_ITEM"]:
            if os.environ["SPOILED_BY"] == "error":
                raise UserError("this item is broken: mend it")
            first = os.environ["SPOILED_BY"] == "first kill"
            if first and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0":
                return batch
            if first or os.environ["SPOILED_BY"] == "kill":
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            batch = batch._replace(target=batch.target * float("nan"))
        return batch

    ProceduralSwaps.__getitem__ = spoiled
    if os.environ["SPOILED_BY"] == "start" and os.environ["LOCAL_RANK"] == "1":
        print("idn: no", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
"""
"""What is imported when a process starts, under the name that Python looks for."""


class Numbers(Dataset):
    def __getitem__(self, index: int) -> int:
        return index


def shares(world: int, steps: int, batch: int | None, accumulate: int = 1, state: dict[str, Any] | None = None) -> Any:
    """Items that each process takes, as lists by step, entered at step `state["step"]`; and the state at the end."""
    per_step = accumulate * (batch or 1)
    start = state["step"] if state else 0
    taken = []
    for rank in range(world):
        data = StreamData(Numbers(), Numbers(), 4, batch)
        trainer = {"world_size": world, "global_rank": rank, "accumulate_grad_batches": accumulate}
        data.trainer = SimpleNamespace(**trainer, global_step=start)
        if state:
            data.load_state_dict(state)
        indices = list(islice(iter(data.train_dataloader().sampler), steps * per_step))
        taken.append([indices[k * per_step : (k + 1) * per_step] for k in range(steps)])
        data.trainer.global_step = start + steps
        after = data.state_dict()
        assert list(data.val_dataloader().sampler) == [0, 1, 2, 3], "all processes validate on the same items"
    return [sorted(chain.from_iterable(step)) for step in zip(*taken, strict=True)], after


@pytest.mark.parametrize("batch", [None, 3])
def test_processes_share_every_step_of_the_stream(batch: int | None) -> None:
    together, _ = shares(2, 4, batch)
    assert together == shares(1, 4, 2 * (batch or 1))[0] == shares(1, 4, batch, accumulate=2)[0]


@pytest.mark.parametrize("batch", [None, 3])
def test_a_run_goes_on_after_the_last_item_with_any_number_of_processes(batch: int | None) -> None:
    straight, _ = shares(2, 5, batch)
    first, state = shares(2, 2, batch)
    second, later = shares(1, 2, batch, accumulate=2, state=state)
    third, _ = shares(2, 1, batch, state=later)
    assert first + second + third == straight
    single, _ = shares(1, 1, batch, state=state)
    assert single[0][0] == first[-1][-1] + 1
    per_step = batch or 1
    assert shares(3, 1, batch, state={"step": 7, "item": 100})[0] == [list(range(100, 100 + 3 * per_step))]


def test_a_checkpoint_says_where_in_the_stream_it_is() -> None:
    assert shares(2, 4, 3)[1] == {"step": 4, "item": 24, "shown": 0, "repeats": 1, "per_step": 6}


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", **quiet, **options)


@pytest.mark.parametrize("options", [{}, {"devices": 2}, {"devices": 2, "strategy": "ddp"}])
def test_one_process_and_ddp_are_welcome(options: dict[str, Any]) -> None:
    check_processes(trainer(**options))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"devices": 2, "num_nodes": 2}, "torchrun"),
        ({"devices": 2, "strategy": "ddp_spawn"}, "strategy ddp "),
        ({"devices": 2, "strategy": "ddp_fork"}, "strategy ddp "),
    ],
)
def test_other_ways_of_several_processes_are_refused(options: dict[str, Any], named: str) -> None:
    with raises(UserError, named):
        check_processes(trainer(**options))


def test_processes_are_started_unless_somebody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert must_start(trainer(devices=2)) and not must_start(trainer())
    cluster = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "none",
    }
    for name, value in (cluster | {"GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    assert not must_start(trainer(devices=2))
    check_processes(trainer(devices=2))


def test_what_one_process_does_refuses_two() -> None:
    check_single(trainer(), "here", "why")
    for argument in ("devices", "num_nodes"):
        with raises(OptionError, "why", argument=argument, value=2):
            check_single(trainer(**{argument: 2}), "here", "why")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train-teacher", "data=faces", "data.root=nowhere"], "must be 1 beside a discriminator: the gradients"),
        (["train-scorer", "graded.folder=nowhere"], "must be 1 for `idn train-scorer`: one process makes"),
        (
            ["train", "trainer.strategy=ddp_spawn", "data=faces", "data.root=nowhere"],
            "the strategy ddp alone",
        ),
        (["train-encoder", "trainer.strategy=ddp_spawn", "encoder_data.size=1"], "the strategy ddp alone"),
    ],
)
def test_a_refusal_comes_before_anything_is_loaded(idn_cli, words: list[str], said: str) -> None:
    status, _, err = idn_cli(*words, TWO, "trainer.accelerator=cpu")
    assert status == 2 and said in err and "nowhere" not in err, err


def test_one_process_alone_has_its_own_number() -> None:
    value = torch.tensor(2.0, requires_grad=True) * 1
    assert mean_of_all(value).item() == 2.0 and not mean_of_all(value).requires_grad


def test_a_loss_that_is_no_number_elsewhere_stops_this_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module, other = FiniteGuard("lower it"), torch.tensor(4.0)
    module.trainer = trainer()
    world = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_world_size=lambda: 2,
        all_reduce=lambda value: value.add_(other),
    )
    monkeypatch.setattr(processes, "distributed", world)
    loss = torch.tensor(2.0, requires_grad=True) * 1
    module.demand_finite("loss", loss)
    assert mean_of_all(loss).item() == 3.0
    other.fill_(float("nan"))
    with raises(NotFinite, what="loss", step=0, whole=True):
        module.demand_finite("loss", loss)
    assert loss.item() == 2.0, "what is differentiated is left alone"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_another_process_says_only_why_it_fails_and_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str
) -> None:
    def task(cfg: Any) -> None:
        (tmp_path / "out").mkdir()
        print("crops are small", file=sys.stderr)
        raise UserError("no")

    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(SystemExit):
        launch.guarded(task)(OmegaConf.create({"out": str(tmp_path / "out")}))
    err = capsys.readouterr().err
    assert "idn: no" in err and ("crops are small" in err) == (rank == "0") == (not (tmp_path / "out").exists())


def idn(
    folder: Path, *words: str, spoiled: tuple[str, int] | None = None, program: tuple[str, ...] = (sys.executable,)
) -> subprocess.CompletedProcess:
    """Run `idn` in processes of its own; spoiled: by what, and which item of the training stream."""
    environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1"}
    if spoiled is not None:
        (folder / "sitecustomize.py").write_text(SPOILED)
        paths = [str(folder), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"SPOILED_BY": spoiled[0], "SPOILED_ITEM": str(spoiled[1]), "PYTHONPATH": os.pathsep.join(paths)}
    command = [*program, "-m", "idn", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def only_sentence(ended: subprocess.CompletedProcess) -> str:
    """What a run says that fails, once and without a traceback, behind the lines of its progress."""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("step ")]
    assert len(lines) == 1 and lines[0].startswith("idn: "), ended.stderr
    return lines[0].removeprefix("idn: ")


def weights(checkpoint: Path, statistics: bool) -> dict[str, torch.Tensor]:
    """Tensors of the student and its average. statistics: with those of BatchNorm."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {key: state[key] for key in state if statistics or not key.endswith(("mean", "_var", "_tracked"))}


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys() and a
    return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of two processes, from start to end."""
    folder = tmp_path_factory.mktemp("two")
    return folder / "run", idn(folder, "train", *TINY, TWO, "trainer.val_check_interval=2", "hydra.run.dir=run")


@pytest.mark.slow
def test_two_processes_write_and_say_everything_once(two: tuple[Path, subprocess.CompletedProcess]) -> None:
    out, ended = two
    assert ended.returncode == 0, ended.stderr
    for line in ("teacher: procedural", "held-out people, after 4 steps", "next: idn train"):
        assert ended.stdout.count(line) == 1
    assert ended.stderr.count("step 4/4") == ended.stderr.count("validation at step 4") == 1
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and "config" not in path.parts}
    assert files == {
        "student.safetensors",
        "summary.json",
        "run.json",
        "metrics/metrics.csv",
        "pictures/step_000002.png",
        "pictures/step_000004.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert "devices=2" in (out / "config/overrides.yaml").read_text()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_both_shares(
    two: tuple[Path, subprocess.CompletedProcess], tmp_path: Path
) -> None:
    last = two[0] / "checkpoints/last.ckpt"
    ended = idn(tmp_path, "train", *TINY, "trainer.accumulate_grad_batches=2", "hydra.run.dir=run")
    assert ended.returncode == 0, ended.stderr
    alone = weights(tmp_path / "run/checkpoints/last.ckpt", statistics=False)
    assert difference(weights(last, statistics=False), alone) < 1e-5
    ended = idn(tmp_path, "train", *TINY, f"resume={last}", "hydra.run.dir=judged")
    assert ended.returncode == 0, ended.stderr
    judged, found = (json.loads((out / "summary.json").read_text()) for out in (tmp_path / "judged", two[0]))
    assert judged.keys() == found.keys() and "val/swap_gain" in found
    assert found == pytest.approx(judged, abs=1e-5), "validated by one process and by two"


@pytest.mark.slow
def test_torchrun_starts_the_same(two: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> None:
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    ended = idn(tmp_path, "train", *TINY, TWO, program=program)
    assert ended.returncode == 0, ended.stderr
    folders = list(tmp_path.glob("outputs/train/*"))
    assert len(folders) == 1, "the second process has no folder of its own"
    straight, found = (weights(out / "checkpoints/last.ckpt", statistics=True) for out in (two[0], folders[0]))
    assert difference(found, straight) == 0


@pytest.mark.slow
def test_four_processes_of_torchrun_learn_what_one_learns(tmp_path: Path) -> None:
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4")
    words = [*TINY, "data.val_batches=4", "optim=sgd", "optim.lr=0.01"]  # Adam takes whole steps where sums round to 0
    ended = idn(tmp_path, "train", *words, "trainer.devices=4", "hydra.run.dir=four", program=program)
    assert ended.returncode == 0, ended.stderr
    ended = idn(tmp_path, "train", *words, "trainer.accumulate_grad_batches=4", "hydra.run.dir=one")
    assert ended.returncode == 0, ended.stderr
    four, one = (weights(tmp_path / name / "checkpoints/last.ckpt", statistics=False) for name in ("four", "one"))
    assert difference(four, one) < 1e-5


@pytest.mark.slow
def test_torchrun_starts_again_after_a_killed_process_and_goes_on_from_the_last_state(
    two: tuple[Path, subprocess.CompletedProcess], tmp_path: Path
) -> None:
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    words = [*TINY, TWO, "trainer.val_check_interval=2", "resume=auto", "hydra.run.dir=run"]
    ended = idn(tmp_path, "train", *words, spoiled=("first kill", 5), program=program)
    assert ended.returncode == 0, ended.stderr
    straight, found = (weights(out / "checkpoints/last.ckpt", statistics=True) for out in (two[0], tmp_path / "run"))
    assert difference(found, straight) == 0


@pytest.mark.slow
@pytest.mark.parametrize("devices", [[TWO], ["trainer.accumulate_grad_batches=2"]], ids=["two", "one"])
def test_a_number_that_is_not_finite_in_one_share_stops_both_and_the_run_can_go_on(
    two: tuple[Path, subprocess.CompletedProcess], tmp_path: Path, devices: list[str]
) -> None:
    ended = idn(tmp_path, "train", *TINY, TWO, "hydra.run.dir=a", spoiled=("nan", 5))
    assert ended.returncode == 2 and only_sentence(ended).startswith("the loss became nan at step 2"), ended.stderr
    good = tmp_path / "a/checkpoints/last_good.ckpt"
    assert torch.load(good, weights_only=True)["global_step"] == 2
    ended = idn(tmp_path, "train", *TINY, *devices, f"resume={good}", "hydra.run.dir=b")
    assert ended.returncode == 0, ended.stderr
    again, straight = (
        weights(out / "checkpoints/last.ckpt", statistics=devices == [TWO]) for out in (tmp_path / "b", two[0])
    )
    assert difference(again, straight) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "item", "said"),
    [
        ("error", 3, "this item is broken: mend it"),
        ("error", 2, "this item is broken: mend it"),
    ],
)
def test_a_process_that_fails_alone_ends_the_run_with_its_sentence(
    tmp_path: Path, kind: str, item: int, said: str
) -> None:
    ended = idn(tmp_path, "train", *TINY, TWO, "hydra.run.dir=run", spoiled=(kind, item))
    assert ended.returncode == 2 and only_sentence(ended).startswith(said), ended.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("item", [5, 4], ids=["second", "first"])
def test_a_killed_process_ends_the_run_within_seconds_and_it_goes_on_bit_equal(
    two: tuple[Path, subprocess.CompletedProcess], tmp_path: Path, item: int
) -> None:
    words = [*TINY, TWO, "trainer.val_check_interval=2", "resume=auto", "hydra.run.dir=run"]
    began = time.time()
    ended = idn(tmp_path, "train", *words, spoiled=("kill", item))
    lasted = time.time() - (tmp_path / "killed").stat().st_mtime
    assert lasted < max(10, (tmp_path / "started").stat().st_mtime - began), (
        "10 s, or as long as one import on a busy CPU"
    )
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("step ", "validation "))]
    assert ended.returncode == 2 and len(lines) == 1, ended.stderr
    assert lines[0].startswith("idn: a process of this run was ended by SIGKILL: if memory was full, ")
    assert not list(tmp_path.rglob("*.safetensors"))
    ended = idn(tmp_path, "train", *words)
    assert ended.returncode == 0, ended.stderr
    straight, found = (weights(out / "checkpoints/last.ckpt", statistics=True) for out in (two[0], tmp_path / "run"))
    assert difference(found, straight) == 0
    told = [(out / "metrics/metrics.csv").read_text() for out in (two[0], tmp_path / "run")]
    assert told[0] == told[1]


@pytest.mark.slow
def test_a_process_that_fails_before_it_meets_the_first_one_ends_the_run(tmp_path: Path) -> None:
    ended = idn(tmp_path, "train", *TINY, TWO, "hydra.run.dir=run", spoiled=("start", 0))
    assert ended.returncode == 1 and only_sentence(ended) == "no", ended.stderr


@pytest.mark.slow
def test_two_processes_verify_every_pair_once(tmp_path: Path) -> None:
    words = [
        "train-encoder",
        "encoder_network.width=0.25",
        "encoder_network.input_size=32",
        "encoder_data.size=32",
        "encoder_data.batch=4",
    ]
    words += [
        "encoder_data.identities=8",
        "encoder_data.pairs=30",
        "encoder_data.workers=0",
        "encoder_training.folds=5",
    ]
    words += ["trainer.max_steps=3", "trainer.val_check_interval=3", "trainer.accelerator=cpu"]
    ended = idn(tmp_path, *words, TWO, "hydra.run.dir=run")
    assert ended.returncode == 0, ended.stderr
    ended = idn(tmp_path, *words, "resume=run/checkpoints/last.ckpt", "hydra.run.dir=judged")
    assert ended.returncode == 0, ended.stderr
    found, judged = (json.loads((tmp_path / out / "summary.json").read_text()) for out in ("run", "judged"))
    assert found.keys() == judged.keys() == {"val/accuracy", "val/auc", "val/tar_at_far_1e-3"}
    assert found == pytest.approx(judged, abs=1e-6)
    ended = idn(tmp_path, *words, TWO, "encoder_data.pairs=8", "hydra.run.dir=few")
    assert ended.returncode == 2 and "encoder_training.folds=5 is more than the 4 verification pairs" in ended.stderr
