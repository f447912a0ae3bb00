"""Several targets per identity: whoever asks who the source is asks once, and all numbers are those of single pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from idn.data.loaders import SwapData
from idn.losses.distillation import IdentityLoss, PixelDistillation
from idn.losses.objective import Objective
from idn.students.mobilefaceswap.student import Student
from idn.students.protocol import SwapStudent
from idn.training.discriminators import PatchDiscriminator
from idn.training.fit import start
from idn.training.modules.supervision import PairSupervision
from idn.training.modules.swap_training import SwapTraining
from idn.types import EncoderDescription, IdentityFeatures, SwapBatch, SwapOutput, repeat_rows
from teachers.cached import CachedTeacher
from teachers.trainable import GhostSwapper, SimSwapSwapper

Make = Callable[..., Any]
TARGETS = 2


class Shared(Dataset):
    """Items of another data set whose rows share their sources, two by two."""

    def __init__(self, pairs: Dataset) -> None:
        self.pairs = pairs

    def __getitem__(self, index: int) -> SwapBatch:
        batch = self.pairs[index]
        source = repeat_rows(batch.source[::TARGETS], TARGETS)
        truth = torch.where(batch.face > 0, source, batch.target)
        return batch._replace(source=source, truth=truth, targets_per_identity=TARGETS)


class Plain(SwapStudent):
    """A student without dynamic weights."""

    def __init__(self) -> None:
        super().__init__(EncoderDescription(8, 16), {})
        self.mix, self.gain = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(8, 3)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        gain = self.gain(identity.for_targets(target).embedding)[:, :, None, None]
        return SwapOutput((target + 0.1 * self.mix(target) * gain).clamp(0, 1))


@pytest.fixture
def make_shared(make_data: Make) -> Make:
    def make() -> SwapData:
        data = make_data()
        return data.with_pairs(Shared(data.train), Shared(data.val))

    return make


def networks() -> dict[str, Callable[[], nn.Module]]:
    return {
        "mobilefaceswap": lambda: Student(EncoderDescription(8, 16), width=0.25),
        "plain": Plain,
        "simswap": lambda: SimSwapSwapper(4, 2, 1, 8),
        "ghost": lambda: GhostSwapper(4, 3, 1, 8, 32),
    }


def seen(module: SwapTraining, batch: SwapBatch) -> tuple[Any, dict[str, Tensor]]:
    """What a training sees in a batch, and the gradient of its loss."""
    module.zero_grad()
    found = module.observe(batch, module.network)
    total, _ = module.objective(found.prediction, found.supervision, found.supervised.trust)
    total.backward()
    return found, {name: p.grad.clone() for name, p in module.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", networks())
def test_a_repeated_identity_is_worth_as_many_single_ones(name: str, make_module: Make, make_shared: Make) -> None:
    torch.manual_seed(0)
    terms = Objective({"pixel": PixelDistillation(), "identity": IdentityLoss()}, {"pixel": 1.0, "identity": 1.0})
    module = make_module(network=networks()[name](), objective=terms)
    batch = make_shared().train[0]
    (found, slopes), (wanted, right) = (seen(module, b) for b in (batch, batch._replace(targets_per_identity=1)))
    assert slopes.keys() == right.keys() and len(slopes) > 2
    whole = torch.cat([slope.flatten() for slope in right.values()]).norm()
    for name, slope in slopes.items():  # biases that a BatchNorm cancels have none but rounding
        assert (slope - right[name]).norm() <= 1e-4 * right[name].norm() + 1e-6 * whole, name
    torch.testing.assert_close(found.prediction.image, wanted.prediction.image, rtol=0, atol=1e-5, check_stride=False)
    torch.testing.assert_close(found.supervised.trust, wanted.supervised.trust)
    torch.testing.assert_close(found.source.embedding, wanted.source.embedding)
    assert len(found.source.features) == len(batch.target)


def test_sources_are_looked_at_and_injected_once(make_module: Make, make_shared: Make) -> None:
    module, rows = make_module(), {"injection": [], "encoder": []}
    module.network.injection.register_forward_hook(lambda _, given, out: rows["injection"].append(len(given[0])))
    module.encoder.register_forward_hook(lambda _, given, out: rows["encoder"].append(len(given[0])))
    module.observe(make_shared().train[0], module.network)
    assert rows == {"injection": [2], "encoder": [2, 4, 4]}  # sources, the teacher's pictures, the student's


def test_a_teacher_trains_with_repeated_sources(tmp_path: Path, make_module: Make, make_shared: Make) -> None:
    from idn.losses.adversarial import HingeGenerator

    terms = Objective({"identity": IdentityLoss(), "adversarial": HingeGenerator()}, {"identity": 1, "adversarial": 1})
    module = make_module(
        network=GhostSwapper(4, 3, 1, 8, 32),
        supervisor=PairSupervision(),
        discriminator=PatchDiscriminator(1, 4, 2),
        objective=terms,
        real="source",
    )
    trainer = fit(tmp_path, module, make_shared(), 2)
    assert {"val/identity_swap", "val/loss_discriminator"} <= set(trainer.callback_metrics)


def test_kept_answers_and_trust_are_those_of_the_teacher(
    tmp_path: Path, make_cache: Make, make_module: Make, make_shared: Make
) -> None:
    make_cache(tmp_path, data=make_shared())
    teacher = CachedTeacher(tmp_path)
    cached, live = make_module(teacher=teacher), make_module()
    data = teacher.attach(make_shared(), live.encoder)
    for item in range(3):
        batch = data.train[item]
        assert batch.targets_per_identity == TARGETS
        found, wanted = (m.observe(b, m.network) for m, b in ((cached, batch), (live, make_shared().train[item])))
        torch.testing.assert_close(found.supervised.answer, wanted.supervised.answer, rtol=0, atol=1 / 255)
        torch.testing.assert_close(found.supervised.trust, wanted.supervised.trust, rtol=0, atol=0.02)


def fit(path: Path, module: SwapTraining, data: SwapData, steps: int, resume: Path | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    start(trainer, module, data, resume)
    return trainer


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, make_module: Make, make_shared: Make) -> None:
    whole = make_module()
    fit(tmp_path, whole, make_shared(), 4)
    fit(tmp_path, make_module(), make_shared(), 2).save_checkpoint(tmp_path / "half.ckpt")
    second = make_module()
    fit(tmp_path, second, make_shared(), 4, tmp_path / "half.ckpt")
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[key]), key
