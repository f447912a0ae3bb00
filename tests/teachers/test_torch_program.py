import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, FileError, ForeignFile, MissingFile, OptionError, UserError
from idn.types import IdentityFeatures, SwapBatch
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.torch_program import TorchProgramTeacher
from tests.raising import raises

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
SIZE, DIM = 32, 6


class Swapper(nn.Module):
    """Adds the mean of the identity to the target's tanh-range picture."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return 0.5 * self.norm(target) + source.flatten(1).mean(1)[:, None, None, None]


class SourceFirst(Swapper):
    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return 0.5 * target + source.flatten(1).mean(1)[:, None, None, None]


class Masked(Swapper):
    def forward(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * target + source.flatten(1).mean(1)[:, None, None, None], target[:, :1]


class Alone(Swapper):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return 0.5 * target.view(1, 3, 32, 32) + source.mean()


class Doubled(Swapper):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return torch.cat([target, target], 2) + source.mean()


class Single(nn.Module):
    def forward(self, target: Tensor) -> Tensor:
        return target


class NotFinite(Swapper):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return target / (source * 0).flatten(1).sum(1)[:, None, None, None]


def inputs(n: int, image_source: bool = False) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, SIZE, SIZE, generator=g), torch.rand(n, *((3, 16, 16) if image_source else (DIM,)))


def save(net: nn.Module, path: Path, training: bool = False) -> str:
    """Write a program and return its sha256."""
    net.train(training)
    example = (torch.rand(2, 3, SIZE, SIZE), torch.rand(2, DIM))
    if isinstance(net, SourceFirst):
        example = example[::-1]
    if isinstance(net, Single):
        example = example[:1]
    if path.suffix == ".pt":
        torch.jit.save(torch.jit.script(net), path)
    else:
        batch = torch.export.Dim("batch", min=1, max=64)
        example = tuple(x[:1] for x in example) if isinstance(net, Alone) else example
        dynamic = None if isinstance(net, Alone) else tuple({0: batch} for _ in example)
        torch.export.save(torch.export.export(net, example, dynamic_shapes=dynamic), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(sha256: str | None = None, **changes) -> TeacherRecord:
    half = (0.5, 0.5, 0.5)
    fields = {
        "name": "mine",
        "licence": "CC-BY-NC-4.0",
        "commercial": False,
        "target": FaceInput(SIZE, "ffhq", half, half),
        "source": SourceInput("shared_embedding", encoder="tiny", dim=DIM),
        "output_mean": half,
        "output_std": half,
        "sha256": sha256,
    }
    return TeacherRecord(**(fields | changes))


def swap_batch(n: int, size: int = SIZE) -> tuple[SwapBatch, IdentityFeatures]:
    g = torch.Generator().manual_seed(1)
    source, target = torch.rand(2, n, 3, size, size, generator=g)
    batch = SwapBatch(source, target, torch.ones(n, 1, size, size), torch.zeros(n, dtype=torch.bool))
    return batch, IdentityFeatures(torch.randn(n, DIM, generator=g) / 10, torch.zeros(n, 4, 2, 2))


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.parametrize("net", [Swapper, SourceFirst, Masked])
def test_round_trip(tmp_path, suffix, net):
    path = tmp_path / f"teacher{suffix}"
    declared = record(save(net(), path), returns_mask=net is Masked)
    teacher = TorchProgramTeacher(str(path), declared, "ffhq", source_first=net is SourceFirst)
    assert not teacher.train().training
    assert not any(p.requires_grad for p in teacher.parameters())
    for n in (1, 4):
        batch, source = swap_batch(n)
        shifted = 0.5 * (2 * batch.target - 1) + source.embedding.mean(1)[:, None, None, None]
        expected = ((shifted + 1) / 2).clamp(0, 1)
        out = teacher(batch, source)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)
        assert not out.requires_grad


def test_source_image_is_cut_for_the_program(tmp_path):
    path = tmp_path / "teacher.pt"
    save(Swapper(), path)
    crop = FaceInput(16, "ffhq", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    teacher = TorchProgramTeacher(path, record(source=SourceInput("image", crop)), "ffhq", source_first=False)
    batch, source = swap_batch(2)
    shift = (2 * batch.source - 1).mean((1, 2, 3))
    expected = ((0.5 * (2 * batch.target - 1) + shift[:, None, None, None] + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(teacher(batch, source), expected, rtol=0, atol=1e-3)


def test_another_size_and_template_keep_the_students_frame(tmp_path):
    path = tmp_path / "teacher.pt"
    save(Swapper(), path)
    teacher = TorchProgramTeacher(path, record(target=FaceInput(SIZE, "arcface_112_v1")), "ffhq", source_first=False)
    batch, source = swap_batch(2, size=64)
    assert teacher(batch, source).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_program_for_one_face(tmp_path, suffix):
    path = tmp_path / f"teacher{suffix}"
    digest = save(Alone(), path)
    with raises(FileError, "record.batchable=false", path=path):
        TorchProgramTeacher(path, record(digest), "ffhq", source_first=False)
    teacher = TorchProgramTeacher(path, record(digest, batchable=False), "ffhq", source_first=False)
    assert teacher(*swap_batch(3)).shape == (3, 3, SIZE, SIZE)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.parametrize(
    ("net", "named"),
    [
        (Single, "1 inputs"),
        (Doubled, "(3, 3, 64, 32)"),
        (Masked, "record.returns_mask=true"),
        (NotFinite, "not finite"),
    ],
)
def test_programs_that_do_not_fit(tmp_path, suffix, net, named):
    path = tmp_path / f"teacher{suffix}"
    with raises(UserError, named):
        TorchProgramTeacher(path, record(save(net(), path)), "ffhq", source_first=False)


def test_declared_mask_that_does_not_come(tmp_path):
    path = tmp_path / "teacher.pt"
    save(Swapper(), path)
    with raises(UserError, "returns_mask=false"):
        TorchProgramTeacher(path, record(returns_mask=True), "ffhq", source_first=False)


def test_program_saved_in_training_mode_is_found_out(tmp_path):
    path = tmp_path / "teacher.pt2"
    with raises(FileError, "record.batchable=false", path=path):
        TorchProgramTeacher(path, record(save(Swapper(), path, training=True)), "ffhq", source_first=False)
    script = tmp_path / "teacher.pt"
    save(Swapper(), script, training=True)
    batch, source = swap_batch(2)
    before = TorchProgramTeacher(script, record(), "ffhq", source_first=False)
    assert not before.program.net.training
    torch.testing.assert_close(before(batch, source), before(batch, source), rtol=0, atol=0)


def test_wrong_embedding_length_and_order(tmp_path):
    path = tmp_path / "teacher.pt2"
    digest = save(Swapper(), path)
    spec = SourceInput("shared_embedding", encoder="tiny", dim=DIM + 1)
    with raises(FileError, "source_first", path=path):
        TorchProgramTeacher(path, record(digest, source=spec), "ffhq", source_first=False)
    with raises(FileError, "source_first", path=path):
        TorchProgramTeacher(path, record(digest), "ffhq", source_first=True)


def test_files_that_are_no_programs(tmp_path):
    def load(name: str, sha256: str | None = None) -> None:
        TorchProgramTeacher(tmp_path / name, record(sha256), "ffhq", source_first=False)

    with raises(MissingFile, path=tmp_path / "missing.pt"):
        load("missing.pt")
    (tmp_path / "text.pt").write_text("hello")
    with raises(ForeignFile, path=tmp_path / "text.pt"):
        load("text.pt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    with raises(DamagedFile, "TorchScript", path=tmp_path / "weights.pt"):
        load("weights.pt")
    weights = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt2").write_bytes(weights)
    with raises(DamagedFile, "torch.export", path=tmp_path / "weights.pt2"):
        load("weights.pt2", hashlib.sha256(weights).hexdigest())
    (tmp_path / "net.onnx").write_bytes(b"x")
    with raises(ForeignFile, ".pt", ".pt2", path=tmp_path / "net.onnx"):
        load("net.onnx")


class Spy:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_exported_program_without_the_right_checksum_is_never_opened(tmp_path):
    path, trace = tmp_path / "teacher.pt2", tmp_path / "ran"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/archive_format", "pt2")
        archive.writestr("x/data/sample_inputs/model.pt", pickle.dumps(Spy(trace)))
    with raises(OptionError, argument="record.sha256"):
        TorchProgramTeacher(path, record(), "ffhq", source_first=False)
    with raises(ForeignFile, "0" * 64, path=path):
        TorchProgramTeacher(path, record("0" * 64), "ffhq", source_first=False)
    assert not trace.exists()


def test_sizes_and_kinds_that_a_file_needs(tmp_path):
    path = tmp_path / "teacher.pt"
    save(Swapper(), path)
    for changes, argument in (
        ({"target": FaceInput()}, "record.target.size"),
        ({"source": SourceInput("image", FaceInput())}, "record.source.crop.size"),
        ({"source": SourceInput("nothing")}, "record.source.kind"),
    ):
        with raises(OptionError, argument=argument):
            TorchProgramTeacher(path, record(**changes), "ffhq", source_first=False)
