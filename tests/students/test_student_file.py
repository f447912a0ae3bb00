"""One file format for every student: what it keeps, whom it refuses, and how a class becomes known."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idn.encoders.description import describe_encoder
from idn.errors import DamagedFile, EncoderMismatch, FileError, ForeignFile, MissingFile, UserError
from idn.files.tensors import read_metadata
from idn.students.mobilefaceswap.student import Student
from idn.students.protocol import SwapStudent, student_class
from idn.students.student_file import STUDENT, load_student, read_student_file, save_student
from idn.types import EncoderDescription, IdentityFeatures, SwapOutput
from tests.conftest import TinyEncoder
from tests.raising import raises

SIZES = EncoderDescription(16, 24)


class Tint(SwapStudent, architecture="test-tint"):
    """One number per person: the smallest student there is."""

    reads = ("embedding",)

    def __init__(self, encoder: EncoderDescription, strength: float = 0.5) -> None:
        super().__init__(encoder, {"strength": strength})
        self.shade = nn.Linear(encoder.embedding_dim, 3)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        shade = torch.sigmoid(self.shade(identity.embedding))[:, :, None, None]
        return SwapOutput(torch.lerp(target, shade, self.config["strength"]))


def small_student(seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(SIZES, width=0.25)


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    student = Student(EncoderDescription(16, 24, 5, "somebody", (0.25, -0.5)), 0.3)
    path = tmp_path / "deep" / "student.safetensors"
    save_student(student, path, {"note": "kept", "template": "ffhq", "size": "96"})
    loaded = load_student(path)
    assert type(loaded) is Student and loaded.config == {"width": 0.3} and loaded.encoder == student.encoder
    assert loaded.state_dict().keys() == student.state_dict().keys()
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in loaded.state_dict().items())
    file = read_student_file(path)
    assert (file.architecture, file.template, file.size) == ("mobilefaceswap", "ffhq", 96)
    assert file.encoder == student.encoder and file.notes["note"] == "kept" and STUDENT not in file.notes
    assert [p.name for p in path.parent.iterdir()] == ["student.safetensors"]


def test_another_architecture_is_loaded_by_the_same_function(tmp_path: Path) -> None:
    tint = Tint(SIZES, 0.25)
    save_student(tint, tmp_path / "tint.safetensors")
    loaded = load_student(tmp_path / "tint.safetensors")
    assert type(loaded) is Tint and loaded.config == {"strength": 0.25}
    target, who = torch.rand(2, 3, 8, 8), IdentityFeatures(torch.randn(2, 16), torch.rand(2, 24, 7, 7))
    assert torch.equal(loaded(target, who).image, tint(target, who).image)
    file = read_student_file(tmp_path / "tint.safetensors")
    assert (file.template, file.size) == (None, None)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_student(small_student(), tmp_path / "student.safetensors")
    before = torch.get_rng_state()
    load_student(tmp_path / "student.safetensors")
    assert torch.equal(before, torch.get_rng_state())


def test_a_name_belongs_to_one_class_and_a_file_cannot_import_anything(tmp_path: Path) -> None:
    with raises(ValueError, "test-tint"):
        type("Other", (SwapStudent,), {}, architecture="test-tint")
    assert student_class("test-tint") is Tint
    for name in ("no such", "os", "count", "idn.data.loaders", "../evil", "", None, ["x"]):
        tensors = {"x": torch.zeros(1)}
        described = {"architecture": name, "config": {}, "encoder": SIZES._asdict()}
        save_file(tensors, tmp_path / "x.safetensors", {STUDENT: json.dumps(described)})
        with raises(FileError, "mobilefaceswap", path=tmp_path / "x.safetensors"):
            load_student(tmp_path / "x.safetensors")


def test_an_interrupted_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "student.safetensors"
    save_student(small_student(), path)
    before = path.read_bytes()
    student = small_student(seed=1)
    monkeypatch.setattr("idn.files.tensors.save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_student(student, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda t, d: t.pop("idn.head.conv1.bias"), "1 missing (idn.head.conv1.bias)"),
        (lambda t, d: t.update(more=torch.zeros(1)), "1 extra (more)"),
        (
            lambda t, d: t.update({"idn.head.conv1.bias": torch.zeros(4)}),
            "1.bias: file (4,), network (3,)",
        ),
        (lambda t, d: d["config"].update(depth=3), "depth"),
        (lambda t, d: d["config"].update(width=9), "width"),
        (lambda t, d: d["config"].update(width="wide"), "width"),
        (lambda t, d: d["encoder"].pop("embedding_dim"), "embedding_dim"),
        (lambda t, d: d["encoder"].update(embedding_dim="many"), ""),
        (lambda t, d: d["encoder"].update(mark=3), ""),
        (lambda t, d: d.pop("config"), "config"),
        (lambda t, d: d.clear(), ""),
    ],
)
def test_a_student_file_that_does_not_fit_is_refused(tmp_path: Path, damage, named: str) -> None:
    path = tmp_path / "student.safetensors"
    save_student(small_student(), path)
    tensors, described = load_file(path), json.loads(read_metadata(path)[STUDENT])
    damage(tensors, described)
    save_file(tensors, path, {STUDENT: json.dumps(described)})
    with raises(UserError, "student.safetensors", named):
        load_student(path)


def test_files_that_are_no_student_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    with raises(MissingFile, path=path):
        load_student(path)
    save_file({"a": torch.zeros(2)}, path)
    with raises(ForeignFile, path=path):
        load_student(path)
    torch.save(small_student().state_dict(), path)
    with raises(ForeignFile, path=path):
        load_student(path)
    save_student(small_student(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with raises(DamagedFile, path=path):
        load_student(path)
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with raises(ForeignFile, path=path):
        load_student(path)
    save_file({"a": torch.zeros(2)}, path, {STUDENT: "[1, {"})
    with raises(ForeignFile, path=path):
        load_student(path)


@pytest.mark.parametrize("size", ["0", "-64", "1099511627776", "wide"])
def test_a_size_that_no_face_has_is_refused(size: str, tmp_path: Path) -> None:
    save_student(small_student(), tmp_path / "s.safetensors", {"template": "ffhq", "size": size})
    with raises(ForeignFile, "size" if size != "wide" else "wide", path=tmp_path / "s.safetensors"):
        read_student_file(tmp_path / "s.safetensors")


def test_another_encoder_is_told_by_name_sizes_and_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = TinyEncoder()
    known = describe_encoder(encoder)
    assert known[:4] == (8, 16, 7, "tiny") and len(known.mark) == 8

    def check(described: EncoderDescription, given: TinyEncoder, notes: dict[str, str] | None = None) -> None:
        save_student(Tint(described), tmp_path / "student.safetensors", notes)
        read_student_file(tmp_path / "student.safetensors").check_encoder(given)

    check(known, encoder)
    check(known._replace(mark=()), encoder)
    check(known._replace(name="", mark=()), encoder, {"encoder": "tiny"})
    with raises(EncoderMismatch, wanted="other", given="tiny"):
        check(known._replace(name="other"), encoder)
    with raises(EncoderMismatch, wanted="other", given="tiny"):
        check(known._replace(name=""), encoder, {"encoder": "other"})
    with raises(EncoderMismatch, "9 numbers", "8 numbers", wanted="tiny", given="tiny"):
        check(known._replace(embedding_dim=9), encoder)
    retrained = TinyEncoder()  # of the same sizes and name
    with raises(EncoderMismatch, wanted="tiny", given="tiny"):
        check(known, retrained)


def test_the_mark_of_an_encoder_does_not_depend_on_the_crops_it_was_built_for() -> None:
    from idn.encoders.trained import TrainedMobileFaceNet

    marks = [describe_encoder(TrainedMobileFaceNet(None, template)) for template in ("ffhq", "arcface_112_v2", "mtcnn")]
    assert all(torch.allclose(torch.tensor(m.mark), torch.tensor(marks[0].mark), atol=1e-5) for m in marks)
    assert torch.tensor(marks[0].mark).abs().max() > 0.01
