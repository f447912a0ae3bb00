from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from idn.encoders.mobilefacenet import MobileFaceNet
from idn.errors import UserError
from idn.losses.recognition import AngularMargin
from idn.metrics.verification import verify
from idn.training.modules.recognition import RecognitionTraining
from idn.training.optimization.schedules import warmup_cosine
from tests.raising import raises

TEMPLATE = "arcface_112_v2"


def test_the_margin_is_added_to_the_angle_of_the_true_class_only():
    head = AngularMargin(4, classes=3, margin=0.4, scale=10.0)
    cosines = torch.tensor([[0.8, -0.2, 0.1], [0.3, 0.5, -0.7]])
    labels = torch.tensor([0, 2])
    logits = cosines.clone()
    logits[0, 0] = torch.cos(torch.acos(cosines[0, 0]) + 0.4)
    logits[1, 2] = torch.cos(torch.acos(cosines[1, 2]) + 0.4)
    expected = -torch.log_softmax(10 * logits, 1)[torch.arange(2), labels]
    torch.testing.assert_close(head(cosines, labels), expected)


def test_without_margin_it_is_plain_cross_entropy():
    head = AngularMargin(4, classes=5, margin=0.4, scale=8.0)
    cosines = torch.rand(6, 5) * 2 - 1
    labels = torch.randint(5, (6,))
    expected = torch.nn.functional.cross_entropy(8 * cosines, labels, reduction="none")
    torch.testing.assert_close(head(cosines, labels, eased=0.0), expected)


def test_the_loss_falls_with_the_true_cosine_even_beyond_the_turning_point():
    head = AngularMargin(4, classes=2, margin=0.5, scale=16.0)
    true = torch.linspace(-1, 1, 401)
    loss = head(torch.stack([true, torch.zeros(401)], 1), torch.zeros(401, dtype=torch.long))
    assert (loss.diff() < 0).all()


def test_perfect_scores_verify_perfectly():
    same = torch.arange(200) % 2 == 0
    scores = verify(same.float() + torch.linspace(0, 0.3, 200), same)
    assert scores == {"accuracy": 1.0, "auc": 1.0, "tar_at_far_1e-3": 1.0}


def test_verification_matches_a_literal_count():
    generator = torch.Generator().manual_seed(0)
    same = torch.rand(3000, generator=generator) < 0.5
    cosines = torch.randn(3000, generator=generator) + 1.5 * same
    scores = verify(cosines, same)
    pairs = cosines[same][:, None] - cosines[~same][None, :]
    assert scores["auc"] == pytest.approx((pairs > 0).double().mean().item(), abs=1e-6)
    allowed = int((~same).sum() * 1e-3)
    threshold = sorted(cosines[~same].tolist())[-1 - allowed]
    assert scores["tar_at_far_1e-3"] == pytest.approx((cosines[same] > threshold).double().mean().item())
    assert scores["accuracy"] == pytest.approx(0.773, abs=0.02)  # normal distribution at half of 1.5


def test_ties_count_half_in_the_area():
    same = torch.arange(40) % 2 == 0
    assert verify(torch.zeros(40), same)["auc"] == 0.5


def test_too_few_pairs_are_refused():
    with raises(ValueError, "folds=10"):
        verify(torch.rand(20), torch.arange(20) < 3)


def _module(classes, steps):
    torch.manual_seed(0)
    network = MobileFaceNet(0.125, 32, 32, TEMPLATE, TEMPLATE)
    schedule = partial(warmup_cosine, total_steps=steps, warmup_steps=2)
    optimizer = partial(SGD, lr=0.1, momentum=0.9, weight_decay=5e-4)
    return RecognitionTraining(network, classes, 0.2, 16.0, steps // 2, optimizer, schedule)


def _people(identities, each, seed):
    """Coloured noise patterns: every person is one pattern, every picture adds fresh noise."""
    generator = torch.Generator().manual_seed(seed)
    people = torch.rand(identities, 3, 8, 8, generator=generator)
    labels = torch.arange(identities).repeat_interleave(each)
    images = torch.nn.functional.interpolate(people[labels], size=32, mode="bilinear")
    return (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1), labels


def test_training_learns_to_verify_unseen_people(tmp_path):
    torch.manual_seed(0)
    images, labels = _people(100, 8, seed=0)
    held_out, people = _people(300, 2, seed=1)
    first, second = held_out[::2], held_out[1::2]
    a, b = torch.cat([first, first]), torch.cat([second, second.roll(1, 0)])
    pairs = TensorDataset(a, b, torch.arange(600) < 300)
    module = _module(100, steps=75)
    trainer = pl.Trainer(
        max_epochs=3,
        check_val_every_n_epoch=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    assert len(people) == 600
    trainer.fit(module, DataLoader(TensorDataset(images, labels), 32, shuffle=True), DataLoader(pairs, 100))
    logged = trainer.callback_metrics
    assert {"train/loss", "train/accuracy", "val/accuracy", "val/auc", "val/tar_at_far_1e-3"} <= set(logged)
    assert logged["val/accuracy"] > 0.95
    assert logged["val/auc"] > 0.99
    assert logged["train/loss"] < 2.5


def test_biases_and_norms_get_no_weight_decay():
    module = _module(4, steps=4)
    groups = module.configure_optimizers()["optimizer"].param_groups
    decayed = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed[id(module.network.stem.norm.weight)] == 0
    assert decayed[id(module.network.embed.bias)] == 0
    assert decayed[id(module.head.centres)] == decayed[id(module.network.stem.conv.weight)] == 5e-4
    assert len(decayed) == len(list(module.parameters()))


def test_one_person_is_nobody_to_tell_apart():
    with raises(UserError, "1 people"):
        _module(1, steps=4)
