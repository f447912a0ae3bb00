"""`idn train-teacher` as a user meets it, and the student that learns from what it makes."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from idn import cli
from idn.cli.instantiate import build
from idn.files.tensors import read_metadata
from idn.types import Prediction, Supervision, Verdict

FAST = ["data.size=32", "data.batch=4", "data.val_batches=1", "teacher_network.width=4", "discriminator.width=4"]
FAST += ["trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.accelerator=cpu"]


def test_a_teacher_of_ones_own_teaches_a_student(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train-teacher", *FAST, "licence=CC0", "hydra.run.dir=run")
    assert status == 0, err
    for name in ("teacher.safetensors", "summary.json", "metrics/metrics.csv", "checkpoints/last.ckpt"):
        assert (tmp_path / "run" / name).is_file()
    assert len(list((tmp_path / "run/snapshots").iterdir())) == 7 and list((tmp_path / "run/pictures").glob("*.png"))
    assert "val/swap_gain" in json.loads((tmp_path / "run/summary.json").read_text())
    notes = read_metadata(tmp_path / "run/teacher.safetensors")
    assert (notes["family"], notes["licence"], notes["fraction"], notes["steps"]) == ("simswap", "CC0", "1", "2")
    last = out.strip().splitlines()[-1]
    assert last.startswith("next: idn train data.size=32 ") and "teacher=trained_here teacher.weights=" in last
    words = [word for word in last.removeprefix("next: idn ").split() if not word.startswith("teacher.weights=")]
    words += [f"teacher.weights={tmp_path}/run/teacher.safetensors", "student.width=0.25", *FAST[5:]]
    status, out, err = idn_cli(*words)
    assert status == 0 and "CC0 (its identity encoder: Apache-2.0)" in out, err


@pytest.mark.slow
def test_a_run_is_resumed_and_ends_between_validations(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("train-teacher", *FAST, "hydra.run.dir=a")
    assert status == 0, err
    more = ["resume=a/checkpoints/last.ckpt", "trainer.max_steps=3", "hydra.run.dir=b"]
    status, out, err = idn_cli("train-teacher", *FAST, *more)
    assert status == 0 and "after 3 steps" in out, err
    assert torch.load(tmp_path / "b/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.precision=16-true"], "trainer.precision=16-true does not fit"),
        (["trainer.accumulate_grad_batches=2"], "take larger batches"),
        (
            ["teacher_network=ghost_small", "teacher_network.width=4", "data.size=32"],
            "data.size=32 does not fit width=4 and halvings=5",
        ),
        (["teacher_network.halvings=5"], "teacher_network.halvings=5 does not fit pictures of 32 px"),
        (["teacher_loss=ghost"], "choose a network that has one, such as ghost"),
        (["discriminator.scales=6"], "pictures of 32 px are too small for 6 scales"),
        (["discriminator=projected", "discriminator.weights=nowhere.pth"], "nowhere.pth"),
        (["callbacks.snapshots.fractions=[2]"], "callbacks.snapshots.fractions"),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt does not exist"),
        (["teacher=trained_here"], "there is no option teacher: did you mean teacher_loss?"),
        (["teacher_loss.weights.identity=-1"], "teacher_loss.weights.identity=-1 must be a number, at least 0"),
        (
            ["teacher_training.real=both"],
            "teacher_training.real=both is unknown: choose one of photograph, source, target",
        ),
        (["teacher_training.scales=max"], "teacher_training.scales=max is unknown: choose one of mean, sum"),
        (
            ["teacher_loss.terms.adversarial.form=log"],
            "teacher_loss.terms.adversarial.form=log is unknown: choose one of hinge, linear",
        ),
    ],
)
def test_bad_options_get_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, out, err = idn_cli("train-teacher", *FAST, *words)
    assert status == 2 and said in out + err and "Traceback" not in out + err
    assert len((out + err).strip().splitlines()) == 1


@pytest.mark.slow
def test_the_default_learns_to_swap_procedural_faces(idn_cli, tmp_path: Path) -> None:
    options = ["data.size=64", "data.val_batches=4", "trainer.max_steps=400", "trainer.val_check_interval=400"]
    status, _, err = idn_cli("train-teacher", *options, "trainer.accelerator=cpu", "hydra.run.dir=run")
    assert status == 0, err
    reached = json.loads((tmp_path / "run/summary.json").read_text())
    assert reached["val/identity_swap"] > reached["val/identity_target"] + 0.2
    assert reached["val/swap_gain"] > 0.5


PUBLISHED = {
    "simswap": {
        "weights": {"adversarial": 1.0, "identity": 30.0, "reconstruction": 10.0, "features": 10.0},
        "adversarial": ("linear", "mean"),
        "reconstruction": ("l1", 1.0, (0.229, 0.224, 0.225)),
        "shown": ("source", "mean"),
        "discriminator": {"backbone": "tf_efficientnet_lite0"},
        "data": {"size": 224, "batch": 16, "same_ratio": 0.5},
        "optim": {"lr": 4e-4, "betas": [0.0, 0.99], "weight_decay": 0.0},
    },
    "ghost": {
        "weights": {"adversarial": 1.0, "identity": 20.0, "reconstruction": 10.0, "attributes": 10.0},
        "adversarial": ("hinge", "sum"),
        "reconstruction": ("half_l2", 0.2, (0.5, 0.5, 0.5)),
        "shown": ("source", "sum"),
        "discriminator": {"scales": 3, "width": 64, "depth": 5},
        "data": {"size": 256, "batch": 16, "same_ratio": 0.2},
        "optim": {"lr": 4e-4, "betas": [0.0, 0.999], "weight_decay": 1e-4},
    },
    "faceshifter": {
        "weights": {"adversarial": 1.0, "identity": 5.0, "reconstruction": 10.0, "attributes": 10.0},
        "adversarial": ("linear", "mean"),
        "reconstruction": ("half_l2", 1.0, (1.0, 1.0, 1.0)),
        "shown": ("target", "mean"),
        "discriminator": {"scales": 3, "width": 64, "depth": 3},
        "data": {"size": 256, "batch": 16, "same_ratio": 0.2},
        "optim": {"lr": 4e-4, "betas": [0.0, 0.999], "weight_decay": 0.0},
    },
}
PARAMETERS = {"simswap": 55_051_779, "ghost": 184_343_381, "faceshifter": 184_343_381}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        return compose("train-teacher", [*overrides])


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_recipe_is_a_published_network_with_published_numbers(recipe: str) -> None:
    cfg, published = composed(f"recipe={recipe}"), PUBLISHED[recipe]
    with torch.device("meta"):
        swapper = build(cfg.teacher_network)(dim=512)
    swapper.check_size(cfg.data.size)
    assert sum(p.numel() for p in swapper.parameters()) == PARAMETERS[recipe]
    assert swapper.config.get("variant") == ("imagenet_linear" if recipe == "simswap" else None)
    objective = build(cfg.teacher_loss)
    terms = objective.terms
    assert objective.weights == published["weights"]
    assert (terms["adversarial"].form, terms["adversarial"].scales) == published["adversarial"]
    rebuilt = terms["reconstruction"]
    assert (rebuilt.norm, rebuilt.share, rebuilt.std) == published["reconstruction"]
    assert (cfg.teacher_training.real, cfg.teacher_training.scales) == published["shown"]
    for group in ("discriminator", "data", "optim"):
        assert {key: cfg[group][key] for key in published[group]} == published[group]
    assert cfg.teacher_network.rates == {"identity": 1.0} and cfg.teacher_training.discriminator_rate == 1.0
    assert cfg.schedule.floor == 1.0


def test_every_published_objective_has_a_recipe_and_every_recipe_is_tested_and_offered() -> None:
    recipes = {path.stem for path in (cli.conf_dir() / "recipe").glob("*.yaml")}
    objectives = {path.stem for path in (cli.conf_dir() / "teacher_loss").glob("*.yaml")}
    assert recipes == set(PUBLISHED) == objectives - {"short"}
    assert f"recipe={'|'.join(PUBLISHED)} " in (cli.conf_dir() / "train-teacher.yaml").read_text()


def test_the_default_objective_compares_pictures_as_they_are() -> None:
    rebuilt = build(composed().teacher_loss).terms["reconstruction"]
    assert rebuilt.std == (1.0, 1.0, 1.0) and rebuilt.share == 1.0


@pytest.mark.parametrize("recipe", ["ghost", "faceshifter"])
def test_the_numbers_of_an_objective_are_those_of_the_published_code(recipe: str) -> None:
    """Restated in the numbers that GHOST, [-1, 1], and FaceShifter, [0, 1], compute with."""
    g = torch.Generator().manual_seed(0)
    swap, target = torch.rand(2, 10, 3, 4, 4, generator=g)
    ours, source = F.normalize(torch.randn(2, 10, 6, generator=g), dim=2)
    kept, wanted = ([torch.randn(10, c, s, s, generator=g) for c, s in ((4, 1), (2, 2))] for _ in range(2))
    logits = [2 * torch.randn(10, 1, s, s, generator=g) for s in (3, 2)]
    same = torch.arange(10) < 2
    judged = [F.relu(1 - x) if recipe == "ghost" else -x for x in logits]
    adversarial = sum(x.mean() for x in judged) / (1 if recipe == "ghost" else 2)
    scaled = (swap - target) * (2 if recipe == "ghost" else 1)
    squares = 0.5 * scaled.square().mean((1, 2, 3)) * same
    rebuilt = squares.sum() / (same.sum() if recipe == "ghost" else 10)
    attributes = 0.5 * sum(F.mse_loss(a, b) for a, b in zip(kept, wanted, strict=True))
    identity = (1 - (ours * source).sum(1)).mean()
    expected = adversarial + 10 * attributes + (20 if recipe == "ghost" else 5) * identity + 10 * rebuilt
    objective = build(composed(f"recipe={recipe}").teacher_loss)
    verdict = Verdict(tuple(logits), ())
    prediction = Prediction(swap, ours, verdict=verdict, attributes=tuple(kept), target_attributes=tuple(wanted))
    total, _ = objective(prediction, Supervision(target, source, torch.ones(10, 1, 4, 4), same))
    assert float(total) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("recipe", ["ghost", pytest.param("faceshifter", marks=pytest.mark.slow)])
def test_a_recipe_trains_in_small(recipe: str, idn_cli, tmp_path: Path) -> None:
    small = ["teacher_network.halvings=4", "discriminator.depth=2", f"recipe={recipe}", "hydra.run.dir=run"]
    status, _, err = idn_cli("train-teacher", *FAST, *small)
    assert status == 0, err
    assert read_metadata(tmp_path / "run/teacher.safetensors")["family"] == "ghost"
