"""`idn swap` as a user meets it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student


@pytest.mark.parametrize(("size", "said"), [(64, False), (96, False), (128, True), (32, True)])
def test_a_size_far_from_that_of_training_is_said(size: int, said: bool, idn_cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Student(describe_encoder(TrainedMobileFaceNet(None, "ffhq")), 0.25)
    save_student(student, tmp_path / "student.safetensors", {"template": "ffhq", "size": "64"})
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "crop.png")
    crops = ["source=crop.png", "target=crop.png", "aligned=true", "out=swap.png"]
    status, _, err = idn_cli("swap", "weights=student.safetensors", *crops, f"size={size}", "device=cpu")
    assert status == 0, err
    assert (f"note: size={size}, but the student was trained on 64 px" in err) == said
