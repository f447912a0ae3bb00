"""Going on from a checkpoint: the config decides, and the rest is as if nothing had happened."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import Dataset

from idn.data.loaders import StreamData
from idn.errors import OptionError, UserError
from idn.files.run_folder import LAST, LAST_GOOD
from idn.training.callbacks.progress import RunProgress
from idn.training.callbacks.save_checkpoints import SaveLast, SaveOnError
from idn.training.callbacks.trust_histogram import TrustHistogram
from idn.training.checkpoint_io import WholeCheckpoints
from idn.training.loggers import ResumableCsvLogger
from idn.training.optimization.schedules import warmup_cosine
from idn.training.resume import start
from tests.raising import raises

Make = Callable[..., Any]


class Rates(pl.Callback):
    """Remembers the options of all optimizers before every batch."""

    def __init__(self) -> None:
        self.seen: dict[int, list[dict[str, Any]]] = {}

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.seen[trainer.global_step] = [{k: v for k, v in group.items() if k != "params"} for group in groups]


def run(
    path: Path, module: pl.LightningModule, data: Any, steps: int, resume: Path | None = None, **options: Any
) -> tuple[pl.Trainer, Rates]:
    rates = Rates()
    every = options.pop("every", 3)
    more = options.pop("more", [])
    trainer = pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=options.pop("validate", 3),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(one, pl.callbacks.ProgressBar) for one in more),
        use_distributed_sampler=False,
        log_every_n_steps=1,
        logger=options.pop("logger", False),
        callbacks=[SaveLast(path, every), SaveOnError(path), rates, *more],
        **options,
    )
    start(trainer, module, data, resume)
    return trainer, rates


class Numbers(Dataset):
    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(4, 2, generator=torch.Generator().manual_seed(index))


class Pair(pl.LightningModule):
    """Two networks that learn by hand, the optimizer of the second behind Lightning's back, or one that does not."""

    def __init__(self, build: Make, schedule: Make, both: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = not both
        self.first, self.second, self.both = nn.Linear(2, 1), nn.Linear(2, 1), both
        self.build, self.schedule = build, schedule

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor | None:
        losses = [network(batch).square().mean() for network in (self.first, self.second)]
        if not self.both:
            return losses[0]
        first, second = self.optimizers()
        for optimizer, loss in zip((first, second), losses, strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss)
        first.step()
        second.optimizer.step()
        for schedule in self.lr_schedulers():
            schedule.step()
        return None

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.first(batch).square().mean())

    def configure_optimizers(self) -> Any:
        optimizers = [self.build(self.first.parameters())]
        optimizers += [self.build([{"params": [p]} for p in self.second.parameters()])] if self.both else []
        return optimizers, [{"scheduler": self.schedule(one), "interval": "step"} for one in optimizers]


COSINE = partial(warmup_cosine, total_steps=6, warmup_steps=1)
STEPS = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)


def numbers() -> StreamData:
    return StreamData(Numbers(), Numbers(), 2)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("schedule", [COSINE, STEPS])
def test_the_config_decides_about_the_optimizers_of_a_resumed_run(both: bool, schedule: Make, tmp_path: Path) -> None:
    old = partial(torch.optim.AdamW, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    new = partial(torch.optim.AdamW, lr=0.01, betas=(0.5, 0.9), weight_decay=0.3)
    _, expected = run(tmp_path / "new", Pair(new, schedule, both), numbers(), 6)
    run(tmp_path / "old", Pair(old, schedule, both), numbers(), 3)
    _, found = run(tmp_path / "on", Pair(new, schedule, both), numbers(), 6, tmp_path / "old" / LAST)
    assert list(found.seen) == [3, 4, 5]
    for step, groups in found.seen.items():
        assert len(groups) == (3 if both else 1)
        for group, wanted in zip(groups, expected.seen[step], strict=True):
            assert group.pop("lr") == pytest.approx(wanted.pop("lr"), rel=1e-12)
            assert group == wanted


def test_a_longer_run_continues_with_the_rate_of_its_own_schedule(tmp_path: Path) -> None:
    build = partial(torch.optim.SGD, lr=0.1)
    longer = partial(warmup_cosine, total_steps=12, warmup_steps=1)
    _, expected = run(tmp_path / "long", Pair(build, longer, False), numbers(), 12)
    run(tmp_path / "short", Pair(build, COSINE, False), numbers(), 6)
    _, found = run(tmp_path / "on", Pair(build, longer, False), numbers(), 12, tmp_path / "short" / LAST)
    assert found.seen == {step: expected.seen[step] for step in range(6, 12)}


def test_the_state_of_another_optimizer_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    run(tmp_path, Pair(partial(torch.optim.SGD, lr=0.1), COSINE, False), numbers(), 3)
    (tmp_path / LAST_GOOD).write_text("of an earlier run")
    with raises(UserError, "AdamW"):
        run(tmp_path, Pair(torch.optim.AdamW, COSINE, False), numbers(), 6, tmp_path / LAST)
    assert (tmp_path / LAST_GOOD).read_text() == "of an earlier run"
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 3


def lost(name: str) -> Make:
    """Takes an entry out of a checkpoint."""
    return lambda saved: {key: value for key, value in saved.items() if key != name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: [saved],
        lambda saved: saved["state_dict"]["first.weight"],
        lost("global_step"),
        lost("state_dict"),
        lost("optimizer_states"),
        lost("lr_schedulers"),
        lost("pytorch-lightning_version"),
        lambda saved: saved | {"global_step": "3"},
        lambda saved: saved | {"global_step": float("inf")},
        lambda saved: saved | {"pytorch-lightning_version": "new"},
        lambda saved: saved | {"state_dict": {"first.weight": None}},
        lambda saved: saved | {"optimizer_states": [1]},
        lambda saved: saved | {"optimizer_states": [{"state": {}, "param_groups": []}]},
        lambda saved: saved | {"loops": 3},
        lambda saved: saved | {"loops": {}},
        lambda saved: saved | {"callbacks": [1]},
        lambda saved: saved | {"StreamData": {"step": 3, "item": -1}},
        lambda saved: saved | {"StreamData": {"step": 3}},
        lambda saved: saved | {"loops": {"fit_loop": saved["loops"]["fit_loop"] | {"state_dict": {"a": [], "b": -1}}}},
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused_in_one_sentence(damage: Make, tmp_path: Path) -> None:
    build = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    run(tmp_path, Pair(build, COSINE, False), numbers(), 3)
    torch.save(damage(torch.load(tmp_path / LAST, weights_only=True)), tmp_path / "odd.ckpt")
    with pytest.raises(UserError) as error:
        run(tmp_path / "on", Pair(build, COSINE, False), numbers(), 6, tmp_path / "odd.ckpt")
    assert "damaged" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_checkpoint_of_another_network_is_told_apart_by_its_tensors(tmp_path: Path) -> None:
    build = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    run(tmp_path, Pair(build, COSINE, False), numbers(), 3)
    saved = torch.load(tmp_path / LAST, weights_only=True)
    state = saved["state_dict"] | {"stranger": torch.zeros(1)}
    state["first.weight"] = torch.zeros(7, 2)
    torch.save(saved | {"state_dict": state}, tmp_path / "odd.ckpt")
    with pytest.raises(UserError) as error:
        run(tmp_path / "on", Pair(build, COSINE, False), numbers(), 6, tmp_path / "odd.ckpt")
    assert "1 extra (stranger); 1 mis-shaped (first.weight: file (7, 2), network (" in str(error.value)


def test_another_identity_encoder_of_the_same_sizes_is_refused(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    run(tmp_path, make_module(), make_data(), 2, every=2)
    other = type(make_module().encoder)()
    renamed = type(make_module().encoder)()
    renamed.load_state_dict(make_module().encoder.state_dict())
    renamed.name = "another"
    for encoder, said in ((other, "with other weights of the identity encoder tiny"), (renamed, "go on with another")):
        with pytest.raises(UserError, match=said) as error:
            run(tmp_path / "on", make_module(encoder=encoder), make_data(), 4, tmp_path / LAST)
        assert "damaged" not in str(error.value)
    run(tmp_path / "on", make_module(), make_data(), 4, tmp_path / LAST)


@pytest.mark.parametrize("line", ["{", "3", "{}", '{"step": null}', '{"step": "x"}', "[]"])
def test_a_damaged_line_of_trust_is_dropped(line: str, tmp_path: Path, make_module: Make, make_data: Make) -> None:
    path = tmp_path / "trust.jsonl"
    path.write_bytes(b'{"step": 0}\n' + line.encode() + b"\n\xff\n")
    run(tmp_path, make_module(), make_data(), 2, more=[TrustHistogram(path, 2)])
    assert [json.loads(one)["step"] for one in path.read_text().splitlines()] == [0, 2]


@pytest.mark.parametrize("both", [False, True])
def test_a_run_killed_between_validations_goes_on_exactly(both: bool, tmp_path: Path) -> None:
    build, modules = partial(torch.optim.AdamW, lr=0.1), []
    for name, steps, resume in (("whole", 6, None), ("killed", 4, None), ("on", 6, tmp_path / "killed" / LAST)):
        modules.append(Pair(build, COSINE, both))
        run(tmp_path / name, modules[-1], numbers(), steps, resume, every=2, validate=5)
    assert torch.load(tmp_path / "killed" / LAST, weights_only=True)["global_step"] == 4
    for key, value in modules[0].state_dict().items():
        assert torch.equal(modules[2].state_dict()[key], value), key


def test_a_student_killed_between_validations_goes_on_exactly(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    modules, lines = [], {}
    for name, steps, resume in (("whole", 6, None), ("killed", 4, None), ("on", 6, tmp_path / "killed" / LAST)):
        modules.append(make_module())
        trust = TrustHistogram(tmp_path / name / "trust.jsonl", 3)
        run(tmp_path / name, modules[-1], make_data(), steps, resume, every=4, validate=5, more=[trust])
        lines[name] = [json.loads(line) for line in trust.path.read_text().splitlines()]
    assert int(modules[1].ema.updates) == 4
    for key, value in modules[0].state_dict().items():
        assert torch.equal(modules[2].state_dict()[key], value), key
    assert [line["step"] for line in lines["whole"]] == [3, 6] and lines["on"] == lines["whole"][1:]


def test_a_run_that_goes_on_in_its_folder_tells_each_step_once(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    def go(module: Any, steps: int, resume: Path | None = None) -> None:
        more = [TrustHistogram(tmp_path / "trust.jsonl", 2)]
        run(
            tmp_path,
            module,
            make_data(),
            steps,
            resume,
            more=more,
            logger=ResumableCsvLogger(tmp_path),
            every=4,
            validate=4,
        )

    def told() -> tuple[list[int], list[int]]:
        curve = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
        steps = [int(row[curve[0].index("step")]) for row in curve[1:] if row[curve[0].index("train/loss")]]
        return steps, [json.loads(line)["step"] for line in (tmp_path / "trust.jsonl").read_text().splitlines()]

    go(make_module(), 7)
    whole = told()
    assert whole == ([0, 1, 2, 3, 4, 5, 6], [2, 4, 6])
    go(make_module(), 7, tmp_path / LAST)  # of step 4
    assert told() == whole
    with raises(UserError, f"resume={tmp_path / LAST} "):
        go(Pair(torch.optim.AdamW, COSINE, False), 9, tmp_path / LAST)
    assert told() == whole
    go(make_module(), 3)
    assert told() == ([0, 1, 2], [2])


def test_batches_that_only_accumulate_count_as_no_step(
    tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(
        WholeCheckpoints, "save_checkpoint", lambda self, state, *rest, **more: saved.append(state["global_step"])
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    module, trust = make_module(), TrustHistogram(tmp_path / "trust.jsonl", 2)
    more = [RunProgress(2), trust]
    run(tmp_path, module, make_data(), 4, more=more, accumulate_grad_batches=3, every=2, validate=100)
    lines = [json.loads(line) for line in trust.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4] and sum(lines[0]["bins"]) == 2 * 3 * 4
    steps = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert steps == ["1/4", "2/4", "4/4"] and int(module.ema.updates) == 4
    assert saved == [2, 4, 4], "the end before and after its validation"


class Validated(pl.Callback):
    """Remembers the steps after which a run was validated, and those of the optimizer."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.batches: dict[int, int] = {}

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.steps.append(trainer.global_step)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.batches[trainer.global_step] = self.batches.get(trainer.global_step, 0) + 1


def test_a_run_that_goes_on_with_another_accumulation_keeps_its_steps_whole(tmp_path: Path) -> None:
    build, seen = partial(torch.optim.SGD, lr=0.1), Validated()
    run(tmp_path / "one", Pair(build, COSINE, False), numbers(), 3, every=3, validate=2)
    more = {"more": [seen], "accumulate_grad_batches": 2, "validate": 2 * 2}
    run(tmp_path / "two", Pair(build, COSINE, False), numbers(), 6, tmp_path / "one" / LAST, **more)
    assert seen.batches == {3: 2, 4: 2, 5: 2} and seen.steps == [4, 6]


def test_an_interval_of_nothing_is_refused() -> None:
    with raises(OptionError, argument="every"):
        SaveLast("x", 0)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_run_without_steps_is_refused(steps: int, tmp_path: Path) -> None:
    schedule = partial(warmup_cosine, total_steps=steps, warmup_steps=1)
    with raises(OptionError, argument="total_steps"):
        run(tmp_path, Pair(torch.optim.AdamW, schedule, False), numbers(), steps)
