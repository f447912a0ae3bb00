"""Training that goes on: start= takes weights and terms of a student file, a checkpoint wants crops like its own."""

from pathlib import Path

import pytest
import torch

import idn
from idn.errors import EncoderMismatch, ForeignFile, MissingFile, OptionError
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student, save_student
from idn.training.modules.supervision import terms_of_both
from idn.types import EncoderDescription

SMALL = ["data.size=32", "data.batch=2", "student.width=0.25", "recogniser=null", "trainer.accelerator=cpu"]
FREE = {"teacher": "blend", "teacher_licence": "MIT", "teacher_commercial_use": "allowed"}
BOUND = {"teacher": "ghost", "teacher_licence": "research", "teacher_commercial_use": "forbidden"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the encoder that comes with the package, of another seed than that of the runs."""
    module, _ = idn.build("train", [*SMALL, "seed=7"])
    path = tmp_path_factory.mktemp("begun") / "student.safetensors"
    save_student(module.network, path, {"template": "ffhq", "size": "32", **BOUND})
    return path


def test_network_and_average_begin_with_the_weights_of_the_file(begun: Path) -> None:
    module, _ = idn.build("train", [*SMALL, f"start={begun}", "data.size=64"])
    theirs = load_student(begun).state_dict()
    for network in (module.network, module.ema.network):
        assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items())
    anew = idn.build("train", SMALL)[0].network.state_dict()
    assert not all(torch.equal(value, theirs[key]) for key, value in anew.items())


def test_the_terms_of_the_first_teacher_stay(begun: Path, tmp_path: Path) -> None:
    module, _ = idn.build("train", [*SMALL, f"start={begun}"])
    lineage = module.lineage()
    assert lineage["teacher"].startswith("ghost, then ") and "ghost: research" in lineage["teacher_licence"]
    assert lineage["teacher_commercial_use"] == "forbidden"


def test_terms_of_two_trainings() -> None:
    assert terms_of_both({}, FREE) == FREE and terms_of_both(FREE, FREE) == FREE
    assert terms_of_both(BOUND, {}) == BOUND
    assert terms_of_both(BOUND, FREE)["teacher_commercial_use"] == "forbidden"
    assert terms_of_both(FREE, FREE | {"teacher": "own"})["teacher_commercial_use"] == "allowed"
    assert terms_of_both({"teacher": "own"}, FREE)["teacher_commercial_use"] == "unknown"


def test_another_width_another_encoder_and_no_file_are_refused(begun: Path, tmp_path: Path) -> None:
    with pytest.raises(ForeignFile) as other:
        idn.build("train", [*SMALL, "student.width=0.5", f"start={begun}"])
    assert "width=0.25" in str(other.value) and "width=0.5" in str(other.value)
    foreign = tmp_path / "foreign.safetensors"
    save_student(Student(EncoderDescription(128, 512, 7, "somebody else"), 0.25), foreign)
    with pytest.raises(EncoderMismatch):
        idn.build("train", [*SMALL, f"start={foreign}"])
    with pytest.raises(MissingFile):
        idn.build("train", [*SMALL, "start=nothing.safetensors"])


def test_a_checkpoint_wants_crops_of_its_own_template() -> None:
    module, _ = idn.build("train", SMALL)
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    module.on_load_checkpoint(dict(saved))
    module.notes["template"] = "arcface_112_v2"
    with pytest.raises(OptionError) as refused:
        module.on_load_checkpoint(saved)
    assert refused.value.argument == "template"
