"""Training of the quality scorer: what it measures, that it learns, that resuming changes nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import Dataset

from idn.data.loaders import StreamData
from idn.files.run_folder import LAST_GOOD
from idn.metrics.scoring import SCORER_METRICS, agreement
from idn.reweighting.graded.pictures import GradedBatch, Grades
from idn.training.callbacks.save_checkpoints import SaveOnError
from idn.training.modules.finite_guard import NotFinite
from idn.training.modules.quality import QualityTraining, by_grade
from idn.training.optimization.schedules import warmup_cosine
from idn.training.resume import start
from tests.conftest import quiet_trainer
from tests.raising import raises


class Tiny(nn.Module):
    """A scorer of a few hundred weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.last = nn.Linear(8, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.net(images).flatten(1)).squeeze(1).sigmoid()


class Noisy(Dataset[GradedBatch]):
    """Grey pictures; the noisier, the worse."""

    def __init__(self, seed: int, spoil: int | None = None, known: bool = True) -> None:
        self.seed, self.spoil, self.known = seed, spoil, known

    def __getitem__(self, index: int) -> GradedBatch:
        draw = torch.Generator().manual_seed(self.seed * 100_003 + index)
        labels = torch.randint(5, (16,), generator=draw) / 4
        noise = torch.randn(16, 3, 16, 16, generator=draw) * (1 - labels).view(-1, 1, 1, 1) * 0.3
        images = (0.5 + noise).clamp(0, 1)
        if self.spoil == index:
            images = images * float("nan")
        errors = noise.abs().mean((1, 2, 3)) if self.known else torch.full((16,), float("inf"))
        return GradedBatch(images, Grades(labels, labels, errors, 2 * errors, torch.arange(16) // 4 + 4 * index))


@pytest.fixture
def make_module() -> Callable[..., QualityTraining]:
    def make(steps: int = 6) -> QualityTraining:
        torch.manual_seed(0)
        schedule = partial(warmup_cosine, total_steps=steps, warmup_steps=1)
        return QualityTraining(Tiny(), partial(torch.optim.AdamW, lr=0.02, weight_decay=0.05), schedule)

    return make


def run(
    path: Path,
    module: QualityTraining,
    steps: int,
    every: int = 3,
    resume: Path | None = None,
    spoil: int | None = None,
    known: bool = True,
) -> pl.Trainer:
    best = pl.callbacks.ModelCheckpoint(path, "best", "val/loss", save_last=True, enable_version_counter=False)
    trainer = quiet_trainer(path, steps, val_check_interval=every, callbacks=[best, SaveOnError(path)])
    start(trainer, module, StreamData(Noisy(0, spoil), Noisy(1, known=known), val_items=4), resume)
    return trainer


def test_the_scorer_learns_and_logs_what_is_promised(
    tmp_path: Path, make_module: Callable[..., QualityTraining]
) -> None:
    module = make_module(150)
    before = {key: value.clone() for key, value in module.named_parameters()}
    trainer = run(tmp_path, module, 150, every=150)
    metrics = trainer.callback_metrics
    ranks = {f"{name}{part}" for name in ("truth", "structure") for part in ("", "_within", "_of_pair", "_of_labels")}
    wanted = {"loss", *(f"rank_{name}" for name in ranks | {"label", "grade"})}
    assert {"train/loss", *(f"val/{name}" for name in wanted)} <= set(metrics)
    assert wanted == {metric.name for metric in SCORER_METRICS}, "the summary explains every number"
    assert trainer.checkpoint_callback.monitor in metrics
    assert metrics["val/loss"] < 0.02 and metrics["val/rank_label"] > 0.9 and metrics["val/rank_truth"] > 0.9
    assert [key for key, value in module.named_parameters() if torch.equal(before[key], value)] == []
    assert [level.grade for level in module.levels] == [0, 0.25, 0.5, 0.75, 1]


def test_without_a_truth_nothing_is_said_about_it(tmp_path: Path, make_module: Callable[..., QualityTraining]) -> None:
    metrics = run(tmp_path, make_module(), 3, known=False).callback_metrics
    assert "val/rank_label" in metrics and not any("truth" in key or "structure" in key for key in metrics)


@pytest.mark.parametrize("split", [3, 4])
def test_resumed_run_equals_the_uninterrupted_one(
    split: int, tmp_path: Path, make_module: Callable[..., QualityTraining]
) -> None:
    whole = make_module()
    run(tmp_path / "whole", whole, 6)
    run(tmp_path / "first", make_module(), split, every=split)
    second = make_module()
    run(tmp_path / "second", second, 6, resume=tmp_path / "first" / "last.ckpt")
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_learned(
    tmp_path: Path, make_module: Callable[..., QualityTraining]
) -> None:
    reference = make_module()
    run(tmp_path / "reference", reference, 4, every=4)
    with raises(NotFinite, step=4, whole=True):
        run(tmp_path / "spoiled", make_module(), 6, every=6, spoil=4)
    kept = torch.load(tmp_path / "spoiled" / LAST_GOOD, weights_only=True)
    assert kept["global_step"] == 4
    for key, value in kept["state_dict"].items():
        assert torch.isfinite(value).all() and torch.equal(value, reference.state_dict()[key])


def test_biases_and_norms_get_no_weight_decay(make_module: Callable[..., QualityTraining]) -> None:
    module = make_module()
    groups = module.configure_optimizers()["optimizer"].param_groups
    decayed = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed[id(module.network.net[1].weight)] == decayed[id(module.network.last.bias)] == 0
    assert decayed[id(module.network.last.weight)] == 0.05 and len(decayed) == len(list(module.parameters()))


def ranks(values: torch.Tensor) -> torch.Tensor:
    """1, 2, ... by size; equal ones share the mean of theirs."""
    return torch.tensor([float((values < v).sum()) + (float((values == v).sum()) + 1) / 2 for v in values])


def literal_spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def test_agreement_follows_its_definition() -> None:
    draw = torch.Generator().manual_seed(0)
    grades = torch.randint(4, (60,), generator=draw) / 3
    labels, errors, differences = (grades * 0.2 + 0.1 * torch.rand(60, generator=draw) for _ in range(3))
    scores = (0.5 * grades + 0.5 * torch.rand(60, generator=draw)).clamp(0, 1)
    pairs = torch.arange(60) % 12
    said = agreement(scores, Grades(labels, grades, -errors, -differences, pairs))
    expected = {
        "loss": float(((scores - labels) ** 2).mean()),
        "rank_label": literal_spearman(scores, labels),
        "rank_grade": literal_spearman(scores, grades),
    }
    for name, quality in (("truth", errors), ("structure", differences)):
        expected[f"rank_{name}"] = literal_spearman(scores, quality)
        expected[f"rank_{name}_of_labels"] = literal_spearman(labels, quality)
        for part, groups in (("within", grades), ("of_pair", pairs)):
            each = [literal_spearman(scores[groups == v], quality[groups == v]) for v in groups.unique()]
            expected[f"rank_{name}_{part}"] = sum(each) / len(each)
    assert said == pytest.approx(expected, abs=1e-4)


def test_a_score_that_orders_the_errors_is_perfect() -> None:
    errors, grades = torch.rand(30), (torch.arange(30) % 3) / 2
    said = agreement(1 / (1 + errors), Grades(grades, grades, errors, 2 * errors, torch.arange(30) // 3))
    for name in ("truth", "truth_within", "truth_of_pair", "structure", "structure_within", "structure_of_pair"):
        assert said[f"rank_{name}"] == pytest.approx(1, abs=1e-4)


def test_pictures_without_a_difference_have_no_order() -> None:
    errors = torch.tensor([0.1, 0.1001, 0.2, 0.3])
    grades, pairs = torch.tensor([1.0, 1.0, 0.5, 0.5]), torch.arange(4) // 2
    known = Grades(grades, grades, errors, errors, pairs)
    said = agreement(torch.tensor([0.2, 0.9, 0.8, 0.1]), known)
    assert said["rank_truth_within"] == said["rank_truth_of_pair"] == pytest.approx(1, abs=1e-4)
    said = agreement(torch.rand(2), Grades(*(column[:2] for column in known)))
    assert "rank_truth" in said and "rank_truth_within" not in said


def test_levels_are_means_by_grade() -> None:
    labels, grades, errors = torch.tensor([0.75, 0.5, 0.25]), torch.tensor([1.0, 0.5, 1.0]), torch.tensor([0.5, 1, 0.0])
    rows = by_grade(torch.tensor([0.25, 0.75, 0.5]), Grades(labels, grades, errors, errors, torch.arange(3)))
    assert rows == [(0.5, 0.5, 0.75, 1.0), (1.0, 0.5, 0.375, 0.25)]
