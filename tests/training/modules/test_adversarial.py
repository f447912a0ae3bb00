"""Training without a teacher: what learns, what stays frozen, what is saved, and that resuming changes nothing."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.amp import GradScaler
from torch.utils.data import Dataset

from idn.data.loaders import SwapData
from idn.errors import OptionError
from idn.files.run_folder import LAST_GOOD
from idn.files.tensors import read_metadata, read_tensors
from idn.losses.adversarial import (
    AttributePreservation,
    HingeGenerator,
    SamePersonReconstruction,
    WeakFeatureMatching,
)
from idn.losses.distillation import IdentityLoss
from idn.losses.objective import Objective
from idn.training.callbacks.pictures import PictureGrid
from idn.training.callbacks.save_checkpoints import SaveOnError
from idn.training.callbacks.snapshots import Snapshots
from idn.training.discriminators import PatchDiscriminator, ProjectedDiscriminator
from idn.training.fit import start
from idn.training.modules.adversarial import check_trainer, differentiate
from idn.training.modules.finite_guard import NotFinite
from idn.training.modules.supervision import PairSupervision
from idn.training.modules.swap_training import FROZEN, SwapTraining
from idn.training.optimization.schedules import warmup_cosine
from idn.types import Prediction, Supervision, SwapBatch, Verdict
from teachers.trainable import GhostSwapper, SimSwapSwapper
from teachers.trained_here import TrainedHereTeacher
from tests.conftest import quiet_trainer
from tests.raising import raises

Make = Callable[..., Any]
SIZE = 32


def attempt(
    module: SwapTraining, batch: SwapBatch, network: nn.Module
) -> tuple[Prediction, Supervision, Verdict | None]:
    seen = module.observe(batch, network)
    return seen.prediction, seen.supervision, seen.real


class Couples(Dataset):
    """Pictures of which every second pair shows one person; remembers what was asked for."""

    def __init__(self, inner: Dataset) -> None:
        self.inner, self.asked = inner, []

    def __getitem__(self, index: int) -> SwapBatch:
        self.asked.append(index)
        batch = self.inner[index]
        same = torch.arange(len(batch.target)) % 2 == 0
        target = torch.where(same.view(-1, 1, 1, 1), batch.source.flip(3) + 0 * batch.target, batch.target)
        return batch._replace(target=target, same=same)


class Same(Dataset):
    """One batch, again and again."""

    def __init__(self, batch: SwapBatch) -> None:
        self.batch = batch

    def __getitem__(self, index: int) -> SwapBatch:
        return self.batch


@pytest.fixture
def couples(make_data: Make) -> Callable[..., SwapData]:
    def make(spoil: int | None = None) -> SwapData:
        data = make_data(spoil)
        data.train = Couples(data.train)
        return data

    return make


@pytest.fixture
def build(make_module: Make) -> Callable[..., SwapTraining]:
    """A module of tiny parts, always with the same random weights."""

    def make(
        family: str = "simswap",
        total_steps: int = 6,
        discriminator: nn.Module | None = None,
        more: dict[str, nn.Module] | None = None,
        lr: float = 2e-3,
        rates: dict[str, float] | None = None,
        **options: Any,
    ) -> SwapTraining:
        torch.manual_seed(0)
        encoder = make_module().encoder
        terms = {"adversarial": HingeGenerator(), "identity": IdentityLoss(), "features": WeakFeatureMatching()}
        if family == "simswap":
            swapper, terms["reconstruction"] = SimSwapSwapper(4, 2, 1, 8, rates=rates), SamePersonReconstruction("l1")
        else:
            swapper, terms["reconstruction"] = (
                GhostSwapper(4, 4, 1, 8, SIZE, rates=rates),
                SamePersonReconstruction("half_l2", 0.5),
            )
            terms["attributes"] = AttributePreservation()
        terms |= more or {}
        return SwapTraining(
            network=swapper,
            supervisor=PairSupervision(),
            discriminator=discriminator or PatchDiscriminator(2, 4, 2),
            encoder=encoder,
            objective=Objective(terms, dict.fromkeys(terms, 1.0) | {"reconstruction": 10.0}),
            optimizer=partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.99)),
            schedule=partial(warmup_cosine, total_steps=total_steps, warmup_steps=1),
            notes={"size": str(SIZE), "template": "ffhq", "licence": "Apache-2.0"},
            channels_last=True,
            write=type(swapper).save,
            **{"ema_decay": 0.9, "discriminator_rate": 1.0} | options,
        )

    return make


class Doubled(Dataset):
    """The same pairs at twice their size."""

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner

    def __getitem__(self, index: int) -> SwapBatch:
        batch = self.inner[index]
        large = {
            name: nn.functional.interpolate(getattr(batch, name), scale_factor=2)
            for name in ("source", "target", "face", "truth")
        }
        return batch._replace(**large)


@pytest.fixture
def doubled(couples: Make) -> Callable[[], SwapData]:
    """Pairs that are large enough for a classifier with five halvings."""

    def make() -> SwapData:
        data = couples()
        data.train, data.val = Doubled(data.train), Doubled(data.val)
        return data

    return make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ProjectedDiscriminator]:
    """A projected discriminator, always with the same random numbers, as its backbone's weights, too."""
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("backbone") / "backbone.pth"
    torch.save(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), file)

    def make() -> ProjectedDiscriminator:
        torch.manual_seed(2)
        return ProjectedDiscriminator("mobilenetv3_small_050", file, 4)

    return make


def trainer_for(path: Path, steps: int, every: int = 3, **options: Any) -> pl.Trainer:
    checkpoint = pl.callbacks.ModelCheckpoint(path, filename="last", enable_version_counter=False)
    return quiet_trainer(
        path,
        steps,
        val_check_interval=every,
        logger=pl.loggers.CSVLogger(path, name="", version=""),
        callbacks=[
            checkpoint,
            SaveOnError(path),
            PictureGrid(path / "pictures", 2),
            Snapshots(path / "snapshots", [0.0, 0.5, 1.0]),
        ],
        **options,
    )


def run(
    path: Path,
    module: SwapTraining,
    data: SwapData,
    steps: int,
    every: int = 3,
    resume: Path | None = None,
    stop: int | None = None,
    **options: Any,
) -> pl.Trainer:
    """Train; `stop` ends the run early, as if it had been killed after the checkpoint of that step."""
    trainer = trainer_for(path, steps, every, **options)
    if stop is not None:
        trainer.callbacks.insert(0, Stop(stop))
    start(trainer, module, data, resume)
    return trainer


class Stop(pl.Callback):
    """Ends a run after the validation of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def unmoved(module: SwapTraining, before: dict[str, torch.Tensor]) -> list[str]:
    """Parameters that should have learned and are still what they were."""
    learning = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
    assert {key.split(".")[0] for key in learning} == {"network", "adversary"}
    after = module.state_dict()
    # inside the margin of the hinge, real and made pictures pull the last bias of a critic equally hard
    return [key for key in learning if torch.equal(before[key], after[key]) and not key.endswith("judge.bias")]


def optimizer_state(trainer: pl.Trainer) -> list[torch.Tensor]:
    states = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    return [value for state in states for entry in state.values() for value in entry.values()]


@pytest.mark.parametrize("family", ["simswap", "ghost"])
def test_both_networks_learn_and_nothing_frozen_moves(family: str, tmp_path: Path, build: Make, couples: Make) -> None:
    module, data = build(family), couples()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = run(tmp_path, module, data, 3)
    after = module.state_dict()
    assert unmoved(module, before) == []
    assert [key for key in after if key.startswith("encoder.") and not torch.equal(before[key], after[key])] == []
    assert trainer.global_step == 3 and data.train.asked[:3] == [0, 1, 2], "two optimizers, but one step per batch"
    assert int(module.ema.updates) == 3


def test_each_network_follows_its_own_loss_alone(build: Make, couples: Make) -> None:
    module = build()
    module.log_dict = module.log = lambda *_, **__: None
    module.manual_backward = lambda loss, **options: loss.backward(**options)
    _, total, judged = module._step(couples().train[0], module.network, "train")
    ours, theirs = list(module.network.parameters()), list(module.adversary.discriminator.parameters())
    expected = torch.autograd.grad(total, ours, retain_graph=True)
    expected += torch.autograd.grad(judged, theirs, retain_graph=True)
    norms = differentiate(module, module.players(total, judged), None)
    for parameter, gradient in zip([*ours, *theirs], expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)
    assert float(norms[0]) == pytest.approx(math.sqrt(sum(float(p.grad.square().sum()) for p in ours)), rel=1e-4)


@pytest.mark.parametrize("name", ["adversarial", "identity", "features", "reconstruction", "attributes"])
def test_every_loss_alone_reaches_the_swapper(name: str, build: Make, couples: Make) -> None:
    module = build("ghost")
    prediction, supervision, _ = attempt(module, couples().train[0], module.network)
    module.objective.terms[name](prediction, supervision).sum().backward()
    assert sum(float(p.grad.abs().sum()) for p in module.network.parameters() if p.grad is not None) > 0
    assert all(p.grad is None for p in module.encoder.parameters())


def test_the_target_is_looked_at_once(build: Make, couples: Make) -> None:
    module, batch = build("ghost"), couples().train[0]
    seen = []
    module.network.net.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    counts = [m.num_batches_tracked for m in module.network.modules() if isinstance(m, nn.BatchNorm2d)]
    prediction, _, _ = attempt(module, batch, module.network)
    assert len(seen) == 2 and torch.equal(seen[0], batch.target * 2 - 1)
    torch.testing.assert_close(seen[1], prediction.image.detach() * 2 - 1)
    assert {int(count) for count in counts} == {2}, "statistics of the target and of the swap"
    assert len(prediction.target_attributes) == len(prediction.attributes) == 5
    assert all(a.requires_grad for a in (*prediction.target_attributes, *prediction.attributes)), (
        "the encoder learns from both"
    )


@pytest.mark.parametrize("real", ["target", "source"])
def test_the_discriminator_is_shown_the_picture_that_was_chosen(real: str, build: Make, couples: Make) -> None:
    module, batch = build(real=real).eval(), couples().train[0]
    prediction, supervision, shown = attempt(module, batch, module.network)
    expected = module.adversary.discriminator(getattr(batch, real))
    assert all(map(torch.allclose, shown.logits, expected.logits)) and shown.logits[0].requires_grad
    target = module.adversary.discriminator(batch.target)
    for scale, wanted in zip(supervision.verdict.features, target.features, strict=True):
        assert all(map(torch.allclose, scale, wanted)), "features are compared with the target's"
    module.log_dict = module.log = lambda *_, **__: None
    judged = module._step(batch, module.network, "val")[2]
    torch.testing.assert_close(judged, module.adversary.hinge(expected, prediction.verdict).mean())


def test_of_edited_pairs_the_discriminator_is_shown_what_the_data_call_a_photograph(build: Make, couples: Make) -> None:
    batch, module = couples().train[0], build(real="photograph").eval()
    source = torch.arange(len(batch.same)) % 2 == 0
    shown = torch.where(source[:, None, None, None], batch.source, batch.target)
    for told, expected in ((batch._replace(source_is_photograph=source), shown), (batch, batch.target)):
        real = module.adversary.look(told, False).real
        assert all(map(torch.allclose, real.logits, module.adversary.discriminator(expected).logits))


def test_without_features_to_match_the_target_is_not_judged(build: Make, couples: Make) -> None:
    module, looks = build(real="source"), []
    module.adversary.discriminator.register_forward_pre_hook(lambda _, inputs: looks.append(len(inputs[0])))
    attempt(module, couples().train[0], module.network)
    assert len(looks) == 3
    del module.objective.terms["features"]
    attempt(module, couples().train[0], module.network)
    assert len(looks) == 5


def test_what_learns_looks_with_gradient_first(build: Make, couples: Make) -> None:
    """Autocast may keep a weight as it was cast at the first look: without gradient, it would never learn."""
    module, first = build("ghost", real="source"), {}

    def remember(layer: nn.Module, _: Any) -> None:
        first.setdefault(layer, torch.is_grad_enabled())

    for layer in (*module.network.modules(), *module.adversary.discriminator.modules()):
        layer.register_forward_pre_hook(remember)
    attempt(module, couples().train[0], module.network)
    assert len(first) > 20 and all(first.values())


def test_a_projected_discriminator_teaches_the_swapper_and_its_heads_alone(
    tmp_path: Path, build: Make, doubled: Make, project: Make
) -> None:
    module, data = build(discriminator=project(), real="source"), doubled()
    for name in ("adversarial", "features"):
        prediction, supervision, _ = attempt(module, data.train[0], module.network)
        module.objective.terms[name](prediction, supervision).sum().backward()
        assert sum(float(p.grad.abs().sum()) for p in module.network.parameters() if p.grad is not None) > 0, name
        module.zero_grad()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = run(tmp_path, module, data, 3)
    after = module.state_dict()
    # of the smallest map, the bias of the only layer can be pulled equally hard as well
    assert trainer.global_step == 3 and set(unmoved(module, before)) <= {
        "adversary.discriminator.heads.3.layers.0.bias"
    }
    still = (
        "adversary.discriminator.backbone.",
        "adversary.discriminator.projections.",
        "adversary.discriminator.mixings.",
    )
    assert all(torch.equal(value, after[key]) for key, value in before.items() if key.startswith(still))
    heads = [key for key, p in module.named_parameters() if p.requires_grad and key.startswith("adversary.")]
    assert heads and all(key.startswith("adversary.discriminator.heads.") for key in heads)


def test_a_run_with_a_projected_discriminator_is_resumed_exactly(
    tmp_path: Path, build: Make, doubled: Make, project: Make
) -> None:
    whole, first, second = (build(discriminator=project()) for _ in range(3))
    run(tmp_path / "whole", whole, doubled(), 4, 2)
    run(tmp_path / "first", first, doubled(), 4, 2, stop=2)
    with torch.no_grad():
        for layer in (*second.adversary.discriminator.projections, *second.adversary.discriminator.mixings):
            layer.weight.normal_()  # another seed: the checkpoint knows better
    run(tmp_path / "second", second, doubled(), 4, 2, resume=tmp_path / "first" / "last.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    assert not torch.equal(first.network.net.first_layer[1].weight, whole.network.net.first_layer[1].weight)


def test_losses_do_not_depend_on_the_batch_size(build: Make, couples: Make) -> None:
    module, batch = build("ghost").eval(), couples().train[0]

    def losses(part: slice) -> dict[str, torch.Tensor]:
        some = batch.take(part)
        prediction, supervision, real = attempt(module, some, module.network)
        found = {name: term(prediction, supervision) for name, term in module.objective.terms.items()}
        return found | {"discriminator": module.adversary.hinge(real, prediction.verdict)}

    together = losses(slice(0, 4))
    alone = [losses(slice(k, k + 1)) for k in range(4)]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.cat([one[name] for one in alone]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "split"),
    [
        ("simswap", 4),
        ("ghost", 2),
        pytest.param("simswap", 2, marks=pytest.mark.slow),
        pytest.param("ghost", 4, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    family: str, split: int, tmp_path: Path, build: Make, couples: Make
) -> None:
    whole, first, second = build(family), build(family), build(family)
    straight = run(tmp_path / "whole", whole, couples(), 6, split)
    run(tmp_path / "first", first, couples(), 6, split, stop=split)
    assert first.ema.updates == split
    data = couples()
    resumed = run(tmp_path / "second", second, data, 6, split, resume=tmp_path / "first" / "last.ckpt")
    assert data.train.asked[: 6 - split] == list(range(split, 6))
    for key, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    states = optimizer_state(straight), optimizer_state(resumed)
    assert len(states[0]) == len(states[1]) > 10 and all(map(torch.equal, *states))
    rates = [[group["lr"] for o in t.optimizers for group in o.param_groups] for t in (straight, resumed)]
    assert rates[0] == rates[1]
    for name in ("0.000", "0.500", "1.000"):
        files = [tmp_path / where / "snapshots" / f"{name}.safetensors" for where in ("whole", "second")]
        assert read_metadata(files[0]) == read_metadata(files[1])
        tensors = [read_tensors(file) for file in files]
        assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


def test_snapshots_are_the_average_at_their_share_of_the_run(tmp_path: Path, build: Make, couples: Make) -> None:
    halfway = build()
    run(tmp_path / "half", halfway, couples(), 6, stop=3)
    module = build()
    run(tmp_path / "whole", module, couples(), 6)
    folder = tmp_path / "whole" / "snapshots"
    assert sorted(path.name for path in folder.iterdir()) == [f"{x}.safetensors" for x in ("0.000", "0.500", "1.000")]
    for name, expected in (("0.500", halfway), ("1.000", module), ("0.000", build())):
        tensors = read_tensors(folder / f"{name}.safetensors")
        wanted = expected.ema.network.net.state_dict()
        assert tensors.keys() == wanted.keys() and all(torch.equal(tensors[key], wanted[key]) for key in wanted)
    notes = read_metadata(folder / "0.500.safetensors")
    assert (notes["fraction"], notes["steps"], notes["encoder"]) == ("0.5", "3", "tiny")
    assert (notes["size"], notes["template"], notes["encoder_dim"]) == ("32", "ffhq", "8")
    assert notes["licence"] == notes["encoder_licence"] == "Apache-2.0" and notes["trained_with"].startswith("idn-")


def test_a_longer_run_does_not_take_over_the_snapshots_of_a_shorter_one(
    tmp_path: Path, build: Make, couples: Make
) -> None:
    run(tmp_path / "short", build(), couples(), 3)
    run(tmp_path / "long", build(), couples(), 8, resume=tmp_path / "short" / "last.ckpt")
    kept = {path.stem: read_metadata(path)["steps"] for path in (tmp_path / "long/snapshots").iterdir()}
    assert kept == {"0.500": "4", "1.000": "8"}


def test_the_file_is_a_teacher_that_answers_as_the_average_does(tmp_path: Path, build: Make, couples: Make) -> None:
    module, data = build("ghost"), couples()
    run(tmp_path, module, data, 3)
    teacher = TrainedHereTeacher(tmp_path / "snapshots/1.000.safetensors", "ffhq")
    teacher.attach(None, module.encoder)
    batch = data.val[0]
    source = module.encoder(batch.source)
    with torch.no_grad():
        torch.testing.assert_close(teacher(batch, source), module.ema(batch.target, source).image)


def test_the_checkpoint_holds_what_learns_and_nothing_frozen(
    tmp_path: Path, build: Make, couples: Make, project: Make
) -> None:
    module = build(discriminator=project())
    trainer = trainer_for(tmp_path, 2, 2)
    trainer.strategy.connect(module)
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    kept = saved["state_dict"]
    assert {key.split(".")[0] for key in kept} == {"network", "ema", "adversary"}
    assert any(key.startswith("adversary.discriminator.projections.") for key in kept)
    assert not any(key.startswith(FROZEN) for key in kept)
    module.on_load_checkpoint(saved)
    assert saved["state_dict"].keys() == module.state_dict().keys()


def test_the_checkpoint_holds_both_optimizers_and_schedules(tmp_path: Path, build: Make, couples: Make) -> None:
    run(tmp_path, build(), couples(), 3)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert len(saved["optimizer_states"]) == len(saved["lr_schedulers"]) == 2
    assert saved["global_step"] == 3
    assert not any(key.startswith("encoder.") for key in saved["state_dict"])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_learned(
    tmp_path: Path, build: Make, couples: Make
) -> None:
    reference = build()
    run(tmp_path / "reference", reference, couples(), 6, 4, stop=4)
    spoiled = build()
    with raises(NotFinite, what="loss", step=4, whole=True):
        run(tmp_path / "spoiled", spoiled, couples(spoil=4), 6, 6)
    kept = torch.load(tmp_path / "spoiled" / LAST_GOOD, weights_only=True)
    assert kept["global_step"] == 4
    for key, value in kept["state_dict"].items():
        assert torch.isfinite(value).all() and torch.equal(value, reference.state_dict()[key]), key
        assert torch.equal(spoiled.state_dict()[key], value), key


class Trap(nn.Module):
    """A finite loss whose gradient is not a number."""

    def forward(self, prediction: Prediction, supervision: Supervision) -> torch.Tensor:
        return (prediction.image * 0).flatten(1).sum(1).sqrt()


def test_a_gradient_that_is_not_finite_stops_the_run_too(tmp_path: Path, build: Make, couples: Make) -> None:
    module = build(more={"trap": Trap()})
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with raises(NotFinite, what="gradient of the network", step=0, whole=True):
        run(tmp_path, module, couples(), 3)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_validation_logs_the_promised_metrics_and_draws(tmp_path: Path, build: Make, couples: Make) -> None:
    trainer = run(tmp_path, build("ghost"), couples(), 3)
    wanted = {"loss", "loss_discriminator", "identity_swap", "identity_target", "swap_gain", "psnr_truth"}
    wanted |= {"ssim_truth", "psnr_target", *(f"loss_{name}" for name in build("ghost").objective.terms)}
    assert {f"val/{name}" for name in wanted} <= set(trainer.callback_metrics)
    assert (tmp_path / "pictures" / "step_000003.png").is_file()


def test_validation_without_an_exact_swap_leaves_its_metrics_out(tmp_path: Path, build: Make, couples: Make) -> None:
    data = couples()
    data.val = [batch._replace(truth=None) for batch in (data.val[0], data.val[1])]
    trainer = run(tmp_path, build(), data, 3)
    assert "val/identity_swap" in trainer.callback_metrics and "val/swap_gain" not in trainer.callback_metrics


def test_rates_and_clipping_are_applied(tmp_path: Path, build: Make, couples: Make) -> None:
    module = build(rates={"identity": 3.0}, discriminator_rate=0.5, clip=1e-3)
    optimizers, _ = module.configure_optimizers()
    base = 2e-3 / 2  # the warm-up starts at half
    assert [g["lr"] for o in optimizers for g in o.param_groups] == pytest.approx([3 * base, base, 0.5 * base])
    module.manual_backward = lambda loss, **options: loss.backward(**options)
    module.log_dict = module.log = lambda *_, **__: None
    _, *losses = module._step(couples().train[0], module.network, "train")
    norms = differentiate(module, module.players(*losses), module.clip)
    for network, norm in zip((module.network, module.adversary.discriminator), norms, strict=True):
        clipped = math.sqrt(sum(float(p.grad.square().sum()) for p in network.parameters()))
        assert float(norm) > 1e-3 and clipped == pytest.approx(1e-3, rel=1e-2)


def test_bfloat16_trains(tmp_path: Path, build: Make, couples: Make) -> None:
    module = build("ghost")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = run(tmp_path, module, couples(), 3, precision="bf16-mixed")
    assert trainer.global_step == 3 and math.isfinite(trainer.callback_metrics["val/loss"])
    assert unmoved(module, before) == []
    assert all(value.dtype == torch.float32 for value in module.network.parameters())


def half(scale: float, patience: int = 2000) -> MixedPrecision:
    """What `precision=16-mixed` is on a GPU, on the CPU."""
    return MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=scale, growth_interval=patience))


@pytest.mark.parametrize("family", ["simswap", "ghost"])
def test_float16_trains(family: str, tmp_path: Path, build: Make, couples: Make) -> None:
    module = build(family, clip=0.5)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = run(tmp_path, module, couples(), 3, plugins=[half(2.0**10)])
    check_trainer(trainer)
    assert trainer.global_step == 3 and math.isfinite(trainer.callback_metrics["val/loss"])
    assert trainer.precision_plugin.scaler.get_scale() == 2.0**10
    assert unmoved(module, before) == []


def test_what_scales_the_gradients_changes_neither_clipping_nor_the_step(
    tmp_path: Path, build: Make, couples: Make
) -> None:
    modules = []
    for scale in (1.0, 2.0**8):
        module = build(clip=1e-3)
        module.optimizer = partial(torch.optim.SGD, lr=1.0)
        run(tmp_path / str(scale), module, couples(), 1, 1, plugins=[half(scale)])
        modules.append(module)
    start = build().network.state_dict()
    for key, value in modules[0].network.named_parameters():
        ours, theirs = value - start[key], modules[1].network.get_parameter(key) - start[key]
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=2e-5)
    moved = [value.detach() - start[key] for key, value in modules[0].network.named_parameters()]
    assert math.sqrt(sum(float(change.square().sum()) for change in moved)) == pytest.approx(1e-3 / 2, rel=1e-2), (
        "the warm-up starts at half"
    )


def test_an_overflow_leaves_a_step_out_and_no_more(tmp_path: Path, build: Make, couples: Make) -> None:
    module = build()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = run(tmp_path, module, couples(), 1, 1, plugins=[half(2.0**120)])
    assert len(unmoved(module, before)) == len([k for k, p in module.named_parameters() if p.requires_grad]) - 2
    assert trainer.precision_plugin.scaler.get_scale() == 2.0**119 and trainer.global_step == 1
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(2e-3 / 2), "the warm-up has not begun"
    trainer = run(tmp_path / "on", module, couples(), 4, 4, plugins=[half(2.0**10)])
    assert unmoved(module, before) == []


def test_a_gradient_that_no_scale_makes_finite_stops_a_float16_run(tmp_path: Path, build: Make, couples: Make) -> None:
    module = build(more={"trap": Trap()})
    with raises(NotFinite, what="gradient of the network", step=2, whole=True):
        run(tmp_path, module, couples(), 6, plugins=[half(4.0)])


def test_a_resumed_float16_run_goes_on_with_its_scale(tmp_path: Path, build: Make, couples: Make) -> None:
    whole, second = build(), build()
    straight = run(tmp_path / "whole", whole, couples(), 6, 4, plugins=[half(8.0, patience=3)])
    run(tmp_path / "first", build(), couples(), 6, 4, stop=4, plugins=[half(8.0, patience=3)])
    last = tmp_path / "first" / "last.ckpt"
    resumed = run(tmp_path / "second", second, couples(), 6, 4, resume=last, plugins=[half(2.0, patience=3)])
    scalers = [trainer.precision_plugin.scaler.state_dict() for trainer in (straight, resumed)]
    assert scalers[0] == scalers[1] and scalers[0]["scale"] == 32.0
    assert all(torch.equal(second.state_dict()[key], value) for key, value in whole.state_dict().items())


@pytest.mark.parametrize(
    ("argument", "value"),
    [("precision", "16-true"), ("accumulate_grad_batches", 2), ("num_devices", 2), ("num_nodes", 2)],
)
def test_trainers_that_do_not_fit_are_refused(argument: str, value: Any) -> None:
    fits = {"precision": "32-true", "accumulate_grad_batches": 1, "num_devices": 1, "num_nodes": 1}
    check_trainer(SimpleNamespace(**fits))
    with raises(OptionError, argument=argument.replace("num_devices", "devices"), value=value):
        check_trainer(SimpleNamespace(**fits | {argument: value}))


def test_options_that_do_not_fit_are_refused(build: Make) -> None:
    for options, argument in (
        ({"real": "both"}, "real"),
        ({"scales": "max"}, "scales"),
        ({"rates": {"style": 2.0}}, "rates.style"),
    ):
        with raises(OptionError, argument=argument):
            build(**options)
    with raises(OptionError, argument="fractions", value=[0.5, 1.5]):
        Snapshots("x", [0.5, 1.5])
    with raises(OptionError, argument="fractions", value=[0.5, 0.50001]):
        Snapshots("x", [0.5, 0.50001])


@torch.no_grad()
def sharpen(encoder: nn.Module, images: torch.Tensor) -> None:
    """Let a random recogniser see what tells pictures apart: the mean of their embeddings is no identity."""
    encoder.embed.bias -= encoder.embed(encoder(images).features.mean((2, 3))).mean(0)


def test_the_swapper_learns(tmp_path: Path, build: Make, couples: Make) -> None:
    """By every term at once, with its discriminator learning beside it."""
    steps = 40
    module, data = build(total_steps=steps, lr=1e-2, ema_decay=0.5), couples()
    batch = data.train[0]
    data.train = Same(batch)
    sharpen(module.encoder, torch.cat([batch.source, batch.target]))

    @torch.no_grad()
    def errors() -> dict[str, float]:
        prediction, supervision, _ = attempt(module, batch, module.ema.network)
        return {name: float(term(prediction, supervision).mean()) for name, term in module.objective.terms.items()}

    before = errors()
    run(tmp_path, module, data, steps, steps)
    after = errors()
    assert after["reconstruction"] < 0.6 * before["reconstruction"]
    assert after["identity"] < 0.8 * before["identity"]
