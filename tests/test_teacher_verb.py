"""`idn teacher` as a user meets it, and the student that learns from what it makes."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from idn import cli
from idn.cli.building import build
from idn.weights import read_metadata

FAST = ["data.size=32", "data.batch=4", "data.val_batches=1", "swapper.width=4", "discriminator.width=4"]
FAST += ["trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.accelerator=cpu"]


def test_a_teacher_of_ones_own_teaches_a_student(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("teacher", *FAST, "licence=CC0", "hydra.run.dir=run")
    assert status == 0, err
    for name in ("teacher.safetensors", "summary.json", "metrics/metrics.csv", "checkpoints/last.ckpt"):
        assert (tmp_path / "run" / name).is_file()
    assert len(list((tmp_path / "run/snapshots").iterdir())) == 7 and list((tmp_path / "run/pictures").glob("*.png"))
    assert "val/swap_gain" in json.loads((tmp_path / "run/summary.json").read_text())
    notes = read_metadata(tmp_path / "run/teacher.safetensors")
    assert (notes["family"], notes["licence"], notes["fraction"], notes["steps"]) == ("simswap", "CC0", "1", "2")
    last = out.strip().splitlines()[-1]
    assert last.startswith("next: idn train data.size=32 ") and "teacher=own teacher.weights=" in last
    words = [word for word in last.removeprefix("next: idn ").split() if not word.startswith("teacher.weights=")]
    words += [f"teacher.weights={tmp_path}/run/teacher.safetensors", "student.width=0.25", *FAST[5:]]
    status, out, err = idn_cli(*words)
    assert status == 0 and "CC0 (its identity encoder: Apache-2.0)" in out, err


def test_a_run_is_resumed_and_ends_between_validations(idn_cli, tmp_path: Path) -> None:
    status, out, err = idn_cli("teacher", *FAST, "hydra.run.dir=a")
    assert status == 0, err
    more = ["resume=a/checkpoints/last.ckpt", "trainer.max_steps=3", "hydra.run.dir=b"]
    status, out, err = idn_cli("teacher", *FAST, *more)
    assert status == 0 and "after 3 steps" in out, err
    assert torch.load(tmp_path / "b/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.precision=16-true"], "trainer.precision=16-true does not fit"),
        (["trainer.gradient_clip_val=1"], "adversarial.clip"),
        (["trainer.accumulate_grad_batches=2"], "raise data.batch"),
        (["swapper=ghost_small", "swapper.width=4", "data.size=32"], "swapper.halvings=5 and data.size=32"),
        (["swapper.halvings=5"], "data.size=32 does not fit swapper.halvings=5"),
        (["swapper_loss=ghost"], "swapper=ghost"),
        (["discriminator.scales=6"], "discriminator.scales"),
        (["discriminator=projected", "discriminator.weights=nowhere.pth"], "nowhere.pth"),
        (["callbacks.snapshots.fractions=[2]"], "callbacks.snapshots.fractions"),
        (["resume=nowhere.ckpt"], "resume=nowhere.ckpt does not exist"),
        (["teacher=own"], "teacher"),
    ],
)
def test_bad_options_get_one_sentence(words: list[str], said: str, idn_cli) -> None:
    status, out, err = idn_cli("teacher", *FAST, *words)
    assert status == 2 and said in out + err and "Traceback" not in out + err
    assert len((out + err).strip().splitlines()) == 1


@pytest.mark.slow
def test_the_default_learns_to_swap_procedural_faces(idn_cli, tmp_path: Path) -> None:
    options = ["data.size=64", "data.val_batches=4", "trainer.max_steps=400", "trainer.val_check_interval=400"]
    status, _, err = idn_cli("teacher", *options, "trainer.accelerator=cpu", "hydra.run.dir=run")
    assert status == 0, err
    reached = json.loads((tmp_path / "run/summary.json").read_text())
    assert reached["val/identity_swap"] > reached["val/identity_target"] + 0.2
    assert reached["val/swap_gain"] > 0.5


@pytest.mark.parametrize(("recipe", "parameters"), [("simswap", 55_051_779), ("ghost", 184_343_381)])
def test_a_recipe_is_a_published_network_with_published_weights(recipe: str, parameters: int) -> None:
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        cfg = compose("teacher", [f"recipe={recipe}"])
    with torch.device("meta"):
        swapper = build(cfg.swapper)(dim=512)
    swapper.check_size(cfg.data.size)
    assert sum(p.numel() for p in swapper.parameters()) == parameters
    objective = build(cfg.swapper_loss)
    published = {
        "simswap": {"adversarial": 1.0, "identity": 30.0, "reconstruction": 10.0, "features": 10.0},
        "ghost": {"adversarial": 1.0, "identity": 20.0, "reconstruction": 10.0, "attributes": 10.0},
    }
    assert objective.weights == published[recipe]
    rates = build(cfg.adversarial.rates)
    assert set(rates.values()) == {1.0} and cfg.optim.lr == 4e-4
