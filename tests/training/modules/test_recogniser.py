"""An encoder that does not teach: validation asks it alone, and the training never notices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from idn.encoders.mobilefacenet import MobileFaceNet
from idn.encoders.trained import TrainedMobileFaceNet, save_trained
from idn.errors import UserError
from idn.metrics.identity import identity_cosine
from idn.training.build import check_recogniser
from idn.training.modules.swap_training import SwapTraining
from idn.training.resume import start

Make = Callable[..., Any]
NAMES = {"val/identity_recogniser", "val/identity_recogniser_teacher", "val/identity_recogniser_target"}


def train(path: Path, module: SwapTraining, data: pl.LightningDataModule, steps: int, ckpt: Path | None) -> pl.Trainer:
    quiet = {"enable_model_summary": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        **quiet,
    )
    start(trainer, module, data, ckpt)
    return trainer


def test_only_validation_asks_the_judge(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    recogniser = type(make_module().encoder)()
    module, asked = make_module(recogniser=recogniser), []
    recogniser.register_forward_pre_hook(
        lambda *_: asked.append((module.trainer.state.stage.value, torch.is_grad_enabled()))
    )
    trainer = train(tmp_path, module, make_data(), 2, None)
    assert trainer.callback_metrics.keys() >= NAMES
    assert not any(name.startswith("train/identity_recogniser") for name in trainer.callback_metrics)
    assert asked == [("validate", False)] * 8, "source, swap, target and answer of two batches"


def test_its_cosines_are_those_of_the_pictures(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    recogniser = type(make_module().encoder)()
    module, data = make_module(recogniser=recogniser), make_data()
    found = train(tmp_path, module, data, 2, None).callback_metrics
    batches = [data.val[0], data.val[1]]
    with torch.no_grad():
        for name, pictures in (("_teacher", [b.truth for b in batches]), ("_target", [b.target for b in batches])):
            pairs = zip(pictures, batches, strict=True)
            cosines = [
                identity_cosine(recogniser(x).embedding, recogniser(b.source).embedding).mean() for x, b in pairs
            ]
            torch.testing.assert_close(found[f"val/identity_recogniser{name}"], torch.stack(cosines).mean())


def test_a_run_learns_and_resumes_the_same_with_a_recogniser_and_without(
    tmp_path: Path, make_module: Make, make_data: Make
) -> None:
    recognisers = [None, type(make_module().encoder)()]
    whole = make_module(recogniser=recognisers[0])
    train(tmp_path, whole, make_data(), 4, None)
    for first, second in (recognisers, recognisers[::-1]):
        begun, path = make_module(recogniser=first), tmp_path / "begun.ckpt"
        train(tmp_path, begun, make_data(), 2, None).save_checkpoint(path)
        kept = torch.load(path, weights_only=True)["state_dict"]
        assert not any(key.startswith("recogniser.") for key in kept)
        resumed = make_module(recogniser=second)
        before = None if second is None else {key: value.clone() for key, value in second.state_dict().items()}
        train(tmp_path, resumed, make_data(), 4, path)
        for key, value in whole.network.state_dict().items():
            assert torch.equal(resumed.network.state_dict()[key], value), key
        if second is not None:
            assert all(torch.equal(second.state_dict()[key], value) for key, value in before.items())


def test_the_encoder_that_teaches_cannot_be_its_own_judge(tmp_path: Path) -> None:
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = MobileFaceNet(0.125, 16, 32, "ffhq", "ffhq")
        files.append(tmp_path / f"{seed}.safetensors")
        save_trained(network, files[-1], "Apache-2.0", "idn train-encoder", {})
    encoder, other = (TrainedMobileFaceNet(file, "ffhq") for file in files)
    check_recogniser(None, encoder)
    check_recogniser(other, encoder)
    with pytest.raises(UserError, match="has the weights of the encoder that teaches, MobileFaceNet "):
        check_recogniser(TrainedMobileFaceNet(files[0].rename(tmp_path / "copy"), "arcface_112_v2"), encoder)
