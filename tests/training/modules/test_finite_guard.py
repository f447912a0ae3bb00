"""A step that would spoil the weights is not made, in every training with one optimizer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.utils.data import Dataset

from idn.data.loaders import StreamData
from idn.errors import OptionError
from idn.files.run_folder import LAST_GOOD
from idn.reweighting.graded.pictures import GradedBatch, Grades
from idn.training.callbacks.save_checkpoints import SaveOnError
from idn.training.modules.finite_guard import FiniteGuard, NotFinite, gradient_norm
from idn.training.modules.quality import QualityTraining
from idn.training.modules.recognition import RecognitionTraining
from idn.training.optimization.schedules import warmup_cosine
from idn.training.resume import start
from idn.types import IdentityFeatures
from tests.raising import raises


class Trap(torch.autograd.Function):
    """Nothing, whose gradient is not a number."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


class Net(nn.Module):
    """A BatchNorm and a few weights, whose `trapped` forward pass, counted from 0, has no gradient."""

    embedding_dim = 4

    def __init__(self, score: bool, trapped: int) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm2d(3), nn.Linear(3, 4)
        self.score, self.trapped, self.seen = score, trapped, 0

    def forward(self, images: torch.Tensor) -> Any:
        out = self.last(self.norm(images).mean((2, 3)))
        if self.training:
            out = Trap.apply(out) if self.seen == self.trapped else out
            self.seen += 1
        if self.score:
            return out.mean(1).sigmoid()
        return IdentityFeatures(nn.functional.normalize(out), out[..., None, None])


class Pictures(Dataset):
    def __init__(self, make: Callable[[torch.Tensor, torch.Tensor], Any], spoil: int | None = None) -> None:
        self.make, self.spoil = make, spoil

    def __getitem__(self, index: int) -> Any:
        draw = torch.Generator().manual_seed(index)
        images, labels = torch.rand(8, 3, 4, 4, generator=draw), torch.arange(8) % 4
        return self.make(images * float("nan") if index == self.spoil else images, labels)


def rated(images: torch.Tensor, labels: torch.Tensor) -> GradedBatch:
    shares = labels / 4
    return GradedBatch(images, Grades(shares, shares, shares, shares, labels))


def quality(trapped: int) -> FiniteGuard:
    return QualityTraining(Net(True, trapped), partial(torch.optim.AdamW, lr=0.01), SCHEDULE)


def recognition(trapped: int) -> FiniteGuard:
    network = Net(False, trapped)
    return RecognitionTraining(network, 4, 0.1, 8.0, 2, partial(torch.optim.SGD, lr=0.01), SCHEDULE)


SCHEDULE = partial(warmup_cosine, total_steps=4, warmup_steps=1)
KINDS = {"quality": (quality, rated), "recognition": (recognition, lambda images, labels: (images, labels))}


def run(path: Path, module: pl.LightningModule, data: StreamData, steps: int, **options: Any) -> pl.Trainer:
    quiet = {"enable_model_summary": False, "enable_progress_bar": False, "logger": False}
    trainer = pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
        callbacks=[SaveOnError(path)],
        **quiet,
        **options,
    )
    start(trainer, module, data, None)
    return trainer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_would_spoil_the_weights_is_not_made(kind: str, what: str, tmp_path: Path) -> None:
    build, make = KINDS[kind]
    torch.manual_seed(0)
    reference = build(99)
    run(tmp_path / "reference", reference, StreamData(Pictures(make), Pictures(make), 1), 2)
    torch.manual_seed(0)
    module = build(2 if what == "gradient" else 99)
    data = StreamData(Pictures(make, 2 if what == "loss" else None), Pictures(make), 1)
    with raises(NotFinite, what=what, step=2, whole=True):
        run(tmp_path / "spoiled", module, data, 4)
    kept = torch.load(tmp_path / "spoiled" / LAST_GOOD, weights_only=True)
    assert kept["global_step"] == 2 and kept["state_dict"]
    for key, value in kept["state_dict"].items():
        assert torch.equal(value, reference.state_dict()[key]) and torch.equal(value, module.state_dict()[key]), key


def test_the_student_does_not_step_on_a_gradient_that_is_no_number(
    tmp_path: Path, make_module: Callable[..., Any], make_data: Callable[..., Any]
) -> None:
    class TrapTerm(nn.Module):
        def forward(self, prediction: Any, supervision: Any) -> torch.Tensor:
            return 0 * Trap.apply(prediction.image).flatten(1).mean(1)

    module = make_module()
    module.objective.terms["pixel"] = TrapTerm()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with raises(NotFinite, "the teacher's pictures", what="gradient", step=0, whole=True):
        run(tmp_path, module, make_data(), 3)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not (tmp_path / LAST_GOOD).exists(), "nothing was learned"


def test_a_gradient_that_overflows_in_float16_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = quality(1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    seen: list[bool] = []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            seen.append(bool(torch.isfinite(gradient_norm(optimizer))))

    data = StreamData(Pictures(rated), Pictures(rated), 1)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=3,
        limit_val_batches=0,
        plugins=[precision],
        callbacks=[Watch()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
    )
    start(trainer, module, data, None)
    assert trainer.global_step == 3 and seen == [True, False, True] and scaler.get_scale() == 4.0
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


def test_the_norm_is_that_of_all_groups() -> None:
    first, second, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm(torch.optim.SGD([{"params": [first]}, {"params": [second, unused]}], lr=1.0)) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_weights_in_half_precision_are_refused_before_the_first_step(kind: str, precision: str, tmp_path: Path) -> None:
    build, make = KINDS[kind]
    data = StreamData(Pictures(make), Pictures(make), 1)
    with raises(OptionError, argument="precision", value=precision) as error:
        run(tmp_path, build(99), data, 2, precision=precision)
    assert isinstance(error.value.owner, pl.Trainer)


def test_weights_that_an_earlier_step_has_spoiled_are_not_called_kept(tmp_path: Path) -> None:
    build, make = KINDS["quality"]
    module = build(99)
    with torch.no_grad():
        next(module.network.parameters()).fill_(float("nan"))
    with raises(NotFinite, step=0, whole=False):
        run(tmp_path, module, StreamData(Pictures(make), Pictures(make), 1), 2)


def test_a_loss_beyond_float16_is_told_where_numbers_reach_further(tmp_path: Path) -> None:
    build, make = KINDS["quality"]
    data = StreamData(Pictures(make, 0), Pictures(make), 1)
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with raises(NotFinite, "bf16-mixed", "32-true", whole=True):
        run(tmp_path, build(99), data, 2, plugins=[half])
