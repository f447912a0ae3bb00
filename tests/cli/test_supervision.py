"""Any student with any supervision, by config alone."""

import json
from pathlib import Path

import pytest

from idn.students.student_file import load_student, read_student_file

SMALL = ("data.size=64", "data.batch=2", "data.val_batches=1", "trainer.max_steps=1", "trainer.val_check_interval=1")
SMALL += ("trainer.accelerator=cpu", "recogniser=null")
WIDTH = {"mobilefaceswap": "student.width=0.25", "mobilefsgan": "student.width=4"}


def test_the_small_experiment_trains_mobilefsgan_from_triplets_without_a_teacher(idn_cli, tmp_path: Path) -> None:
    words = ("experiment=mobilefsgan_small", *SMALL, WIDTH["mobilefsgan"], "hydra.run.dir=run")
    status, out, err = idn_cli("train", *words)
    assert status == 0, err
    assert "teacher: none; licence: no teacher" in out
    file = read_student_file(tmp_path / "run/student.safetensors")
    assert (file.architecture, file.size, file.notes["teacher"]) == ("mobilefsgan", 64, "none")
    assert load_student(file.path).config == {"width": 4}
    metrics = json.loads((tmp_path / "run/summary.json").read_text())
    assert "val/swap_gain" in metrics and "val/psnr_teacher" not in metrics and "val/trust" not in metrics


@pytest.mark.slow
@pytest.mark.parametrize("supervision", ["distillation", "triplets", "both", "exact"])
@pytest.mark.parametrize("student", WIDTH)
def test_every_student_learns_under_every_supervision(student: str, supervision: str, idn_cli) -> None:
    share = "1.0" if supervision == "exact" else "0.5"
    words = (f"student={student}", WIDTH[student], f"supervision={supervision}", f"data.truth_share={share}")
    status, out, err = idn_cli("train", *SMALL, *words)
    assert status == 0, err
    assert ("teacher: procedural" in out) == (supervision in ("distillation", "both"))
    fused = student == "mobilefaceswap"
    assert ("no fusion mask" in out) != fused
    status, out, err = idn_cli("train", *SMALL, *words, "loss=mobilefsgan", "discriminator=mobilefsgan",
                               "loss.terms.perceptual.weights=null")  # fmt: skip
    assert status == 0, err
    assert ("no smaller pictures" in out) == fused


def test_data_that_know_some_swaps_only_are_no_exact_ones(idn_cli) -> None:
    status, _, err = idn_cli("train", *SMALL, WIDTH["mobilefaceswap"], "supervision=exact", "data.truth_share=0.5")
    assert status == 2 and "some pairs only: choose the supervision triplets" in err and err.count("\n") == 1
