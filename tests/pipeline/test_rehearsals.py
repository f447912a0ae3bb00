"""Whole sequences from teacher to student, a few steps of every stage, by `idn pipeline ... rehearsal=true`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.files.tensors import read_metadata
from idn.images import to_uint8

DATA = "encoder=procedural encoder.photographs=true data.stored_template=ffhq data.layout=flat data.holdout=0.3"
SMALL = {
    "paper_simswap": "discriminator=patch discriminator.width=4 teacher_network.width=4 teacher_network.blocks=1",
    "paper_faceshifter": "discriminator.scales=1 discriminator.width=4 "
    "teacher_network.halvings=5 teacher_network.width=4",
}
"""What makes the teachers small; everything else stays as it is published."""


def photographs(folder: Path) -> Path:
    """A folder of drawn faces, each of another person."""
    folder.mkdir()
    pairs = ProceduralSwaps(FaceRenderer(), 64, 32, seed=0, same_ratio=0.0)[0]
    for index, face in enumerate(to_uint8(torch.cat([pairs.source, pairs.target]))):
        Image.fromarray(face.permute(1, 2, 0).numpy()).save(folder / f"{index:02d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_papers_recipes_lead_from_photographs_to_a_student(name: str, idn_cli, tmp_path: Path) -> None:
    root = photographs(tmp_path / "crops")
    words = [f"experiment={name}", f"root={root}", "rehearsal=true", "accelerator=cpu", "precision=32-true"]
    words += ["workers=0", "size=64", "batch=4", f"more.all={DATA}"]
    words += [f"more.train-teacher=data.batch=4 {SMALL[name]}", "more.train-scorer=scorer.backbone=null data.batch=4"]
    status, out, err = idn_cli("pipeline", *words, "more.train=student.width=0.25", "out=all")
    assert status == 0, err
    assert "all stages run" in out
    student = tmp_path / "all/rehearsal/student/student.safetensors"
    notes = read_metadata(student)
    assert notes["teacher"].startswith("own ") and "snapshots" in notes["quality_scorer"]
    assert "val/trust" in json.loads((student.parent / "summary.json").read_text())


@pytest.mark.slow
def test_the_small_pipeline_runs_all_its_stages(idn_cli, tmp_path: Path) -> None:
    words = ["experiment=pipeline_small", "size=32", "rehearsal=true", "out=all", "more.train=student.width=0.25"]
    status, out, err = idn_cli("pipeline", *words, "more.train-teacher=teacher_network.width=4 discriminator.width=4")
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == [
        "teacher",
        "student_losses_only",
        "student_kd",
        "student_kd_identity",
        "student_kd_identity_quality",
    ]
    before = sorted((tmp_path / "all").rglob("student.safetensors"))
    assert len(before) == 4
