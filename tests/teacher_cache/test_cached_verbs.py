"""`idn cache` and the student that reads it: which teacher and which judge really were asked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from idn.reweighting.scorer import ScorerNetwork, ScorerNotes, save_scorer

DATA = ["data.size=32", "data.batch=2", "data.val_batches=1"]
FAST = [*DATA, "student.width=0.25", "trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.accelerator=cpu"]


def judge(path: Path, name: str, seed: int) -> str:
    """A scorer's file; returns its options."""
    torch.manual_seed(seed)
    network = ScorerNetwork(32).eval()
    torch.nn.init.normal_(network.net.fc.weight)
    save_scorer(network, path / f"{name}.safetensors", ScorerNotes("snapshots", name, "CC0", "allowed", "", {}))
    return f"reweight.scorer={name}.safetensors"


def trained(idn_cli, *words: str) -> tuple[float, str, str]:
    """Mean trust on held-out pairs, the judge that the student names, and what was said."""
    shutil.rmtree("run", ignore_errors=True)
    status, _, err = idn_cli("train", *FAST, *words, "reweight=identity_quality", "hydra.run.dir=run")
    assert status == 0, err
    with safe_open("run/student.safetensors", "pt") as file:
        named = file.metadata()["quality_scorer"]
    return json.loads(Path("run/summary.json").read_text())["val/trust"], named, err


def test_a_student_is_judged_by_the_judge_that_it_was_given(idn_cli, tmp_path: Path) -> None:
    first, second = (judge(tmp_path, name, seed) for seed, name in enumerate(("first", "second")))
    assert idn_cli("cache", *DATA, "out=kept", "pairs=4", "reweight=identity_quality", first)[0] == 0
    kept = ["teacher=cached", "teacher.path=kept"]
    live = {option: trained(idn_cli, option)[0] for option in (first, second)}
    assert abs(live[first] - live[second]) > 1e-3
    trust, named, said = trained(idn_cli, *kept, first)
    assert trust == pytest.approx(live[first], rel=0.02) and "on snapshots of first" in named
    assert "asked afresh" not in said
    trust, named, said = trained(idn_cli, *kept, second)
    assert trust == pytest.approx(live[second], rel=0.02) and "on snapshots of second" in named
    assert "kept keeps qualities by another scorer: the scorer is asked afresh" in said.splitlines()


def test_another_judge_under_the_same_name_is_noticed(idn_cli, tmp_path: Path) -> None:
    words = ["cache", *DATA, "out=kept", "pairs=4", "reweight=identity_quality", judge(tmp_path, "judge", 0)]
    assert idn_cli(*words)[0] == 0
    assert idn_cli(*words)[0] == 0, "the same one again"
    judge(tmp_path, "judge", 1)
    status, _, err = idn_cli(*words)
    assert status == 2 and "out=kept was begun with other weights of the quality scorer" in err
