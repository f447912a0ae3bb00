"""Files of every kind, whole and damaged; the recogniser; swaps of faces; a student that learns from them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import EncoderMismatch, ForeignFile, MissingFile, OptionError, UnfitTensors, UserError
from idn.frozen import Frozen
from idn.types import IdentityFeatures
from teachers.published.ghost import GhostNet, GhostTeacher, PyramidEncoder, ResNetEncoder
from tests.raising import raises
from tests.teachers.conftest import strangers

DOWN, UP, WIDTHS, PLANES, DIM = (
    (2, 3, 4, 5, 6, 7, 5),
    (7, 6, 5, 4, 3, 2),
    (6, 5, 5, 7, 4, 5, 3, 4),
    (2, 3, 2, 1, 2, 1),
    8,
)


def tiny(kind: str, blocks: int) -> dict[str, Tensor]:
    """Random weights of a network with few channels."""
    torch.manual_seed(0)
    down = DOWN if kind == "unet" else (*UP[::-1], 5)
    encoder = ResNetEncoder(3, PLANES) if kind == "resnet" else PyramidEncoder(down, UP, kind == "linknet")
    return GhostNet(encoder, WIDTHS, blocks, DIM).state_dict()


class Recogniser(Frozen):
    """Stands in for the recogniser of GHOST: mean colours of a grid, times weights; tells the length."""

    name, licence, embedding_dim, feature_channels, feature_size = "ghost_r100", "none", DIM, 3, 2

    def __init__(self, scale: float = 1.0, tells: bool = True) -> None:
        super().__init__()
        weight = torch.randn(12, DIM, generator=torch.Generator().manual_seed(5))
        self.register_buffer("weight", weight)
        self.scale, self.tells = scale, tells
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        maps = F.adaptive_avg_pool2d(images, 2)
        raw = self.scale * (maps.flatten(1) @ self.weight)
        return IdentityFeatures(F.normalize(raw), maps, (), raw.norm(dim=1) if self.tells else None)


@pytest.fixture
def file(tmp_path):
    """Writes a tiny network of a kind, or these tensors, and returns the path."""

    def write(kind="unet", blocks=2, tensors=None):
        path = tmp_path / "G.pth"
        torch.save(tiny(kind, blocks) if tensors is None else tensors, path)
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "blocks", "variant"),
    [
        ("unet", 1, "unet, 1 block"),
        ("unet", 2, "unet, 2 blocks"),
        ("unet", 3, "unet, 3 blocks"),
        ("linknet", 2, "linknet, 2 blocks"),
        ("resnet", 2, "resnet, 2 blocks"),
    ],
)
def test_kind_blocks_and_channels_are_read_from_the_file(file, kind, blocks, variant):
    path = file(kind, blocks)
    teacher = GhostTeacher(path, "ffhq", Recogniser())
    assert teacher.record.variant == variant
    saved, loaded = torch.load(path), teacher.net.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)


@pytest.mark.parametrize(
    ("kind", "blocks"), [("unet", 2), pytest.param("linknet", 2, marks=pytest.mark.slow), ("resnet", 1)]
)
def test_every_missing_tensor_is_named(file, kind, blocks):
    tensors = tiny(kind, blocks)
    keys = [key for key in tensors if not key.endswith("num_batches_tracked")]
    for key in [*keys[::29], "generator.up1.weight", "generator.AADBlk5.add_blocks.0.fc1.weight"]:
        path = file(tensors={name: value for name, value in tensors.items() if name != key})
        with raises(UnfitTensors, "G.pth", missing=[key]):
            GhostTeacher(path, "ffhq", Recogniser())


def test_strange_and_reshaped_tensors_are_named(file):
    tensors = tiny("unet", 2)
    with raises(UnfitTensors, "G.pth", extra=["generator.AADBlk1.add_blocks.8.weight"]):
        GhostTeacher(file(tensors=tensors | {"generator.AADBlk1.add_blocks.8.weight": torch.ones(2)}), "ffhq")
    for key in ("encoder.deconv3.deconv.weight", "generator.AADBlk3.add_blocks.5.weight"):
        with raises(UnfitTensors, "G.pth", misshaped=[key]):
            GhostTeacher(file(tensors=tensors | {key: tensors[key][:1]}), "ffhq")
    with raises(UnfitTensors, "1 axes", missing=["generator.up1.weight"]):
        GhostTeacher(file(tensors=tensors | {"generator.up1.weight": torch.tensor(1.0)}), "ffhq")


def test_files_of_other_families_are_named(file, tmp_path):
    with raises(ForeignFile, path=tmp_path / "G.pth", found="FaceShifter (maum-ai)"):
        GhostTeacher(file(tensors={"G.model.layer_0.add1.conv1.weight": torch.ones(2)}), "ffhq")
    with raises(UnfitTensors, "generator"):
        GhostTeacher(file(tensors={"anything.weight": torch.ones(2)}), "ffhq")
    with raises(OptionError, argument="weights"):
        GhostTeacher(None, "ffhq")
    with raises(MissingFile, path=tmp_path / "missing.pth"):
        GhostTeacher(tmp_path / "missing.pth", "ffhq")


def test_faces_end_to_end(file):
    batch = strangers()
    teacher = GhostTeacher(file(), "arcface_112_v1", Recogniser())
    out = teacher(batch, IdentityFeatures(torch.zeros(2, 4), torch.zeros(2, 4, 2, 2)))
    assert out.shape == batch.target.shape
    assert out.min() >= 0
    assert out.max() <= 1
    large = F.interpolate(batch.target, 256, mode="bilinear") * 2 - 1
    raw = F.adaptive_avg_pool2d(batch.source, 2).flatten(1) @ Recogniser().weight
    with torch.no_grad():
        expected = (teacher.net(large, raw) + 1) / 2
    expected = F.interpolate(expected, 64, mode="bilinear", antialias=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-3)
    assert (out - batch.target).abs().mean() > 0.02


def test_the_length_of_the_embedding_matters(file):
    batch, nothing = strangers(), IdentityFeatures(torch.zeros(2, 4), torch.zeros(2, 4, 2, 2))
    path = file()
    one, three = (GhostTeacher(path, "ffhq", Recogniser(scale))(batch, nothing) for scale in (1.0, 3.0))
    assert (one - three).abs().mean() > 1e-3
    with raises(UserError, "ghost"):
        GhostTeacher(path, "ffhq", Recogniser(tells=False))(batch, nothing)


def test_the_students_encoder_serves_when_it_is_the_same(file):
    batch, path = strangers(), file()
    shared, own = GhostTeacher(path, "ffhq"), GhostTeacher(path, "ffhq", Recogniser())
    assert (shared.record.source.kind, own.record.source.kind) == ("shared_embedding", "own_embedding")
    shared.attach(None, Recogniser())
    source = Recogniser()(batch.source)
    torch.testing.assert_close(shared(batch, source), own(batch, source), rtol=0, atol=0)


def test_another_recogniser_is_refused(file):
    class Other(Recogniser):
        name = "w600k_r50"

    with raises(EncoderMismatch, "8 numbers", wanted="ghost_r100", given="w600k_r50"):
        GhostTeacher(file(), "ffhq", Other())
    with raises(EncoderMismatch, wanted="ghost_r100", given="w600k_r50"):
        GhostTeacher(file(), "ffhq").attach(None, Other())


def test_a_student_learns_from_it_while_it_stays_frozen(file, learn_from):
    learn_from(GhostTeacher(file(), "ffhq", Recogniser()))


@pytest.mark.slow
def test_the_main_model_loads_and_runs_at_full_size(tmp_path):
    path = tmp_path / "G_unet_2blocks.pth"
    torch.save({key: value.half() for key, value in GhostNet(PyramidEncoder()).state_dict().items()}, path)
    teacher = GhostTeacher(path, "ffhq")
    assert teacher.record.variant == "unet, 2 blocks"
    assert teacher.record.source.dim == 512
    with torch.no_grad():
        out = teacher.net(torch.zeros(1, 3, 256, 256), torch.ones(1, 512))
    assert out.shape == (1, 3, 256, 256)
    assert out.isfinite().all()
