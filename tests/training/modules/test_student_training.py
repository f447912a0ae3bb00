"""The training step: what learns, what stays frozen, what is saved, and that resuming changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from idn.data.loaders import SwapData
from idn.errors import OptionError, UserError
from idn.files.run_folder import LAST_GOOD
from idn.losses.perceptual_features import IdentityShallow, TimmFeatures
from idn.reweighting.trust import Trust
from idn.training.callbacks.pictures import PictureGrid
from idn.training.callbacks.save_checkpoints import SaveOnError
from idn.training.callbacks.trust_histogram import TrustHistogram
from idn.training.fit import start
from idn.training.modules.finite_guard import NotFinite
from idn.training.modules.swap_training import FROZEN, SwapTraining
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.conftest import quiet_trainer
from tests.raising import raises

Make = Callable[..., Any]


def trainer_for(path: Path, steps: int, every: int = 3, **options: Any) -> pl.Trainer:
    checkpoint = pl.callbacks.ModelCheckpoint(
        path, filename="best", monitor="val/loss", save_last=True, enable_version_counter=False
    )
    return quiet_trainer(
        path,
        steps,
        val_check_interval=every,
        gradient_clip_val=1.0,
        logger=pl.loggers.CSVLogger(path, name="", version=""),
        callbacks=[
            checkpoint,
            SaveOnError(path),
            PictureGrid(path / "pictures", 2),
            TrustHistogram(path / "t.jsonl", 2),
        ],
        **options,
    )


def run(
    path: Path, module: SwapTraining, data: SwapData, steps: int, resume: Path | None = None, **options: Any
) -> pl.Trainer:
    trainer = trainer_for(path, steps, **options)
    start(trainer, module, data, resume)
    return trainer


def test_every_student_parameter_learns_and_nothing_frozen_moves(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    module = make_module()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    run(tmp_path, module, make_data(), 3)
    after = module.state_dict()
    unchanged = [key for key, p in module.network.named_parameters() if torch.equal(before[f"network.{key}"], p)]
    assert unchanged == []
    moved = [key for key in after if key.startswith(FROZEN) and not torch.equal(before[key], after[key])]
    assert moved == [] and any(key.startswith("supervisor.teacher.") for key in after)
    assert all(p.grad is None for p in [*module.supervisor.teacher.parameters(), *module.encoder.parameters()])


@pytest.mark.parametrize("name", ["face", "pixel", "perceptual", "identity", "mask"])
def test_every_loss_alone_reaches_the_student(name: str, make_module: Make, make_data: Make) -> None:
    module = make_module()
    seen = module.observe(make_data().train[0], module.network.train())
    module.objective.terms[name](seen.prediction, seen.supervision).sum().backward()
    total = sum(float(p.grad.abs().sum()) for p in module.network.parameters() if p.grad is not None)
    assert total > 0


def test_losses_do_not_depend_on_the_batch_size(make_module: Make, make_data: Make) -> None:
    module = make_module().eval()
    batch = make_data().train[0]

    def losses(part: slice) -> dict[str, torch.Tensor]:
        seen = module.observe(batch.take(part), module.network.eval())
        return {name: term(seen.prediction, seen.supervision) for name, term in module.objective.terms.items()}

    together = losses(slice(0, 4))
    alone = [losses(slice(k, k + 1)) for k in range(4)]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.cat([one[name] for one in alone]), rtol=1e-4, atol=1e-5)


def test_checkpoint_holds_student_average_and_optimizer_only(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    run(tmp_path, make_module(), make_data(), 3)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert {key.split(".")[0] for key in saved["state_dict"]} == {"network", "ema"}
    assert saved["optimizer_states"] and saved["lr_schedulers"]


@pytest.mark.parametrize("split", [pytest.param(3, marks=pytest.mark.slow), 4])
def test_resumed_run_equals_the_uninterrupted_one(
    split: int, tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    whole = make_module()
    run(tmp_path / "whole", whole, make_data(), 6)
    run(tmp_path / "first", make_module(), make_data(), split, every=split)
    second = make_module()
    run(tmp_path / "second", second, make_data(), 6, resume=tmp_path / "first" / "last.ckpt")
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_resume_refuses_what_does_not_fit(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    run(tmp_path, make_module(), make_data(), 3)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    removed = next(iter(saved["state_dict"]))
    del saved["state_dict"][removed]
    torch.save(saved, tmp_path / "cut.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    data = make_data()
    with raises(UserError, f"resume={tmp_path / 'cut.ckpt'} ", removed):
        run(tmp_path / "a", make_module(), data, 6, resume=tmp_path / "cut.ckpt")
    with raises(OptionError, argument="resume", value=tmp_path / "none.ckpt"):
        run(tmp_path / "b", make_module(), data, 6, resume=tmp_path / "none.ckpt")
    with raises(OptionError, argument="resume", value=tmp_path / "text.ckpt"):
        run(tmp_path / "c", make_module(), data, 6, resume=tmp_path / "text.ckpt")
    with raises(OptionError, argument="resume", value=tmp_path / "last.ckpt"):
        run(tmp_path / "d", make_module(), data, 2, resume=tmp_path / "last.ckpt")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_learned(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    reference = make_module()
    run(tmp_path / "reference", reference, make_data(), 4, every=4)
    with raises(NotFinite, step=4, whole=True):
        run(tmp_path / "spoiled", make_module(), make_data(spoil=4), 6, every=6)
    kept = torch.load(tmp_path / "spoiled" / LAST_GOOD, weights_only=True)
    assert kept["global_step"] == 4
    for key, value in kept["state_dict"].items():
        assert torch.isfinite(value).all() and torch.equal(value, reference.state_dict()[key])


def test_validation_logs_the_monitored_key_and_the_promised_metrics(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    trainer = run(tmp_path, make_module(), make_data(), 3)
    wanted = {"loss", "swap_gain", "identity_swap", "identity_teacher", "identity_target", "psnr_teacher"}
    wanted |= {"ssim_teacher", "psnr_truth", "ssim_truth", "trust", "loss_pixel", "loss_mask"}
    assert {f"val/{name}" for name in wanted} <= set(trainer.callback_metrics)
    assert trainer.checkpoint_callback.monitor in trainer.callback_metrics
    assert (tmp_path / "pictures" / "step_000003.png").is_file()
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 1


def test_the_student_learns(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    module = make_module(total_steps=60, ema_decay=0.8)
    trainer = run(tmp_path, module, make_data(), 60, every=60)
    assert trainer.callback_metrics["val/swap_gain"] > 0.5


class OwnMaps(torch.nn.Module):
    """Feature maps that need no look of the encoder."""

    reads_encoder = False

    def forward(self, images: torch.Tensor, seen: IdentityFeatures | None) -> tuple[torch.Tensor, ...]:
        return (images[..., ::4, ::4],)


class Reader(FrozenTeacher):
    """Answers with the exact swap, and reads the embedding that the encoder gave the student."""

    def __init__(self) -> None:
        source = SourceInput("shared_embedding", encoder="tiny", dim=8)
        super().__init__(TeacherRecord("reader", "Apache-2.0", True, FaceInput(), source), crop_template=None)
        self.freeze()

    def swap(self, target: torch.Tensor, batch: SwapBatch, source: IdentityFeatures) -> torch.Tensor:
        return batch.truth + 0 * self.identity(batch, source).sum()


@pytest.mark.parametrize(
    ("cached", "perceptual", "passes"),
    [(False, None, 3), (False, OwnMaps(), 3), (True, None, 3), (True, OwnMaps(), 2)],
)
def test_the_encoder_looks_at_no_picture_twice(
    cached: bool, perceptual: torch.nn.Module | None, passes: int, make_module: Make, make_data: Make
) -> None:
    module = make_module(perceptual=perceptual, teacher=Reader())
    module.supervisor.teacher.attach(None, module.encoder)
    batch = make_data().train[0]
    looks: list[torch.Tensor] = []
    module.encoder.register_forward_pre_hook(lambda _, given: looks.append(given[0]))
    if cached:
        batch = batch._replace(cached_cosine=torch.tensor([0.5, 0.25, 0.0, -1.0]))
    seen = module.observe(batch, module.network)
    pasted = torch.lerp(seen.supervision.answer, seen.prediction.generated, batch.face)
    expected = [batch.source, *([seen.supervision.answer] if passes == 3 else []), pasted]
    assert len(looks) == passes
    assert all(torch.equal(look, image) for look, image in zip(looks, expected, strict=True))
    if cached:
        assert torch.equal(seen.supervised.trust, torch.tensor([0.25, 0.0625, 0.0, 0.0]))


def test_a_quality_that_was_kept_counts_and_the_scorer_is_not_asked(make_module: Make, make_data: Make) -> None:
    class Silent(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

    module = make_module()
    module.supervisor.trust = Trust("identity_quality", Silent())
    kept = {"cached_cosine": torch.full((4,), 0.5), "cached_quality": torch.tensor([1.0, 0.5, 0.25, 0.0])}
    supervised = module.observe(make_data().train[0]._replace(**kept), module.network).supervised
    assert torch.equal(supervised.trust, torch.tensor([0.25, 0.125, 0.0625, 0.0]))


def test_the_perceptual_choices_say_whether_they_read_the_encoder() -> None:
    assert IdentityShallow.reads_encoder and not TimmFeatures.reads_encoder


def test_trust_is_one_without_reweighting(make_module: Make, make_data: Make) -> None:
    def trust(variant: str) -> torch.Tensor:
        module = make_module(variant=variant)
        return module.observe(make_data().train[0], module.network).supervised.trust

    assert torch.equal(trust("none"), torch.ones(4))
    cosine_trust = trust("identity")
    assert ((cosine_trust >= 0) & (cosine_trust <= 1)).all() and not torch.equal(cosine_trust, torch.ones(4))
