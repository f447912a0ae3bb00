"""The teacher that was trained here: from its file to a frozen swapper, and which files are refused."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from idn.errors import EncoderMismatch, FileError, ForeignFile, MissingFile, OptionError, UnfitTensors, UserError
from idn.files.tensors import read_metadata, read_tensors, write_tensors
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch
from teachers.published.ghost import GhostNet, PyramidEncoder
from teachers.published.simswap import SimSwapTeacher
from teachers.trainable import GhostSwapper, SimSwapSwapper, TrainableSwapper
from teachers.trained_here import TrainedHereTeacher
from tests.raising import raises

NOTES = {
    "size": "32",
    "template": "ffhq",
    "encoder": "tiny",
    "encoder_dim": "8",
    "encoder_licence": "CC0",
    "licence": "Apache-2.0",
    "steps": "600",
    "fraction": "0.25",
    "trained_with": "idn-distill 0",
}


class Encoder(Frozen):
    """Looks at nothing but the mean colour."""

    feature_channels = feature_size = 1
    licence = "CC0"

    def __init__(self, name: str = "tiny", dim: int = 8) -> None:
        super().__init__()
        self.name, self.embedding_dim = name, dim
        self.table = torch.nn.Linear(3, dim)
        self.freeze()

    def forward(self, images: torch.Tensor) -> IdentityFeatures:
        return IdentityFeatures(F.normalize(self.table(images.mean((2, 3))), dim=1), images[:, :1, :1, :1])


def swapper(family: str) -> TrainableSwapper:
    torch.manual_seed(0)
    net = SimSwapSwapper(4, 2, 1, 8) if family == "simswap" else GhostSwapper(4, 4, 1, 8, 32)
    target = torch.rand(4, 3, 32, 32)
    for _ in range(3):
        net.swap(target, F.normalize(torch.randn(4, 8)))  # BatchNorm statistics of its own
    return net.eval()


@pytest.fixture(params=["simswap", "ghost"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def file(family: str, tmp_path: Path) -> Path:
    swapper(family).save(tmp_path / "teacher.safetensors", NOTES)
    return tmp_path / "teacher.safetensors"


def pairs(size: int = 32) -> SwapBatch:
    g = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 3, 3, size, size, generator=g)
    return SwapBatch(source, target, torch.ones(3, 1, size, size), torch.zeros(3, dtype=torch.bool))


def altered(file: Path, **notes: str | None) -> Path:
    """The same tensors with other metadata; None removes a note."""
    kept = {key: value for key, value in (read_metadata(file) | notes).items() if value is not None}
    write_tensors(file, read_tensors(file), kept)
    return file


def test_it_answers_as_the_swapper_that_was_saved(file, family):
    teacher, batch = TrainedHereTeacher(file, "ffhq"), pairs()
    source = torch.nn.functional.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(2)))
    answer = teacher(batch, IdentityFeatures(source, source[:, :, None, None]))
    with torch.no_grad():
        torch.testing.assert_close(answer, swapper(family).swap(batch.target, source)[0])


def test_its_record_comes_from_the_file(file, family):
    record = TrainedHereTeacher(file, "ffhq").record
    assert record.name == f"own {family}" and record.variant == "600 steps"
    assert record.licence == "Apache-2.0 (its identity encoder: CC0)"
    assert (record.target.size, record.target.template) == (32, "ffhq")
    source = record.source
    assert (source.kind, source.encoder, source.dim, source.unit_length) == ("shared_embedding", "tiny", 8, True)


def test_it_wants_the_encoder_that_it_was_trained_with(file):
    teacher = TrainedHereTeacher(file, "ffhq")
    teacher.attach(None, Encoder())
    with raises(EncoderMismatch, "8 numbers", wanted="tiny", given="other"):
        teacher.attach(None, Encoder("other"))
    with raises(EncoderMismatch, "16 numbers", wanted="tiny", given="tiny"):
        teacher.attach(None, Encoder(dim=16))


def test_it_is_frozen_and_works_in_crops_of_another_size_and_framing(file):
    teacher, encoder, batch = TrainedHereTeacher(file, "arcface_112_v2").train(), Encoder(), pairs(64)
    assert not any(p.requires_grad for p in teacher.parameters())
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    answer = teacher(batch, encoder(batch.source))
    assert answer.shape == (3, 3, 64, 64) and not answer.requires_grad
    assert ((answer >= 0) & (answer <= 1)).all() and not torch.equal(answer, batch.target)
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())


def test_samples_do_not_see_each_other(file):
    teacher, encoder, batch = TrainedHereTeacher(file, "ffhq"), Encoder(), pairs()
    together = teacher(batch, encoder(batch.source))
    for k in range(3):
        one = batch.take(slice(k, k + 1))
        torch.testing.assert_close(teacher(one, encoder(one.source)), together[k : k + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("notes", "kind", "named"),
    [
        ({"family": "facade"}, FileError, "facade"),
        ({"config": "{}"}, UserError, "teacher.safetensors"),
        ({"config": "oops"}, FileError, "idn train-teacher"),
        ({"size": "thirty"}, FileError, "thirty"),
        ({"size": "30"}, FileError, "30 px"),
        ({"template": "nobody"}, OptionError, "nobody"),
        ({"encoder": None}, ForeignFile, "encoder"),
    ],
)
def test_altered_metadata_get_one_sentence(notes, kind, named, file):
    with raises(kind, named) as caught:
        TrainedHereTeacher(altered(file, **notes), "ffhq")
    assert "\n" not in str(caught.value)


def test_tensors_that_are_not_those_of_the_network_are_named(file, family):
    tensors = read_tensors(file)
    key = "first_layer.1.weight" if family == "simswap" else "generator.up1.weight"
    write_tensors(file, {k: v for k, v in tensors.items() if k != key}, read_metadata(file))
    with raises(UnfitTensors, f"own {family}", missing=[key]):
        TrainedHereTeacher(file, "ffhq")
    write_tensors(file, tensors | {"more": torch.zeros(1)}, read_metadata(file))
    with raises(UnfitTensors, extra=["more"]):
        TrainedHereTeacher(file, "ffhq")
    write_tensors(file, tensors | {key: torch.zeros(2)}, read_metadata(file))
    with raises(UnfitTensors, misshaped=[key]):
        TrainedHereTeacher(file, "ffhq")


def test_foreign_files_are_refused_by_name(tmp_path):
    ghost = GhostNet(PyramidEncoder((2,) * 7, (2,) * 6), (2,) * 8, 1, 8)
    torch.save(ghost.state_dict(), tmp_path / "ghost.pth")
    with raises(ForeignFile, path=tmp_path / "ghost.pth", found="GHOST"):
        TrainedHereTeacher(tmp_path / "ghost.pth", "ffhq")
    save_file({"anything": torch.zeros(2)}, tmp_path / "x.safetensors")
    with raises(ForeignFile, "family", "config", path=tmp_path / "x.safetensors"):
        TrainedHereTeacher(tmp_path / "x.safetensors", "ffhq")
    with raises(MissingFile, path=tmp_path / "nowhere.safetensors"):
        TrainedHereTeacher(tmp_path / "nowhere.safetensors", "ffhq")


@pytest.mark.slow
def test_a_full_width_simswap_trained_here_is_a_published_file(tmp_path):
    torch.manual_seed(0)
    net = SimSwapSwapper()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    target, embedding = torch.rand(2, 3, 32, 32), F.normalize(torch.randn(2, 512))
    (net.swap(target, embedding)[0] - target).abs().mean().backward()
    optimizer.step()
    net.eval().save(tmp_path / "own.safetensors", NOTES | {"size": "224", "encoder_dim": "512"})
    crops, source = torch.rand(1, 3, 224, 224), F.normalize(torch.randn(1, 512))
    batch = SwapBatch(crops.flip(3), crops, torch.ones(1, 1, 224, 224), torch.zeros(1, dtype=torch.bool))
    seen = IdentityFeatures(source, source[:, :, None, None])
    with torch.no_grad():
        expected = net.swap(crops, source)[0]
    del net, optimizer
    for teacher in (
        TrainedHereTeacher(tmp_path / "own.safetensors", "ffhq"),
        SimSwapTeacher(tmp_path / "own.safetensors", "ffhq", "tanh01", template="ffhq"),
    ):
        torch.testing.assert_close(teacher(batch, seen), expected)
