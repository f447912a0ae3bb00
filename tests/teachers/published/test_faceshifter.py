"""The network is compared with a literal reading of the published description that shares no code with it."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.parsing import AttributeDict
from torch import Tensor
from torchvision.models import resnet101

from idn.errors import ForeignFile, MissingFile, OptionError, UnfitTensors
from idn.types import IdentityFeatures
from teachers.published.faceshifter import AeiNet, FaceShifterTeacher
from tests.raising import raises
from tests.teachers.conftest import strangers
from tests.teachers.published.literal_layers import leaky, norm, twice

DOWN, UP, WIDTHS, DIM, DEPTHS = (2, 3, 4, 5, 6, 7, 5), (8, 6, 5, 4, 3, 2), (6, 5, 5, 7, 4, 5, 3, 4), 8, (1, 2, 1, 1)
ENCODER, GENERATOR, RECOGNISER, TENSORS = 67_092_800, 372_220_806, 43_024_704, 1076
"""Parameters as published, and tensors in a state dict of the three without the discriminator."""
SHAPES = {
    "E.Encoder.layer_0.0.weight": (32, 3, 4, 4),
    "E.Encoder.layer_0.0.bias": (32,),
    "E.Encoder.layer_6.1.running_mean": (1024,),
    "E.Decoder.layer_1.0.weight": (2048, 512, 4, 4),
    "E.Decoder.layer_5.0.bias": (32,),
    "E.Decoder.layer_5.1.num_batches_tracked": (),
    "G.convt.weight": (256, 1024, 2, 2),
    "G.convt.bias": (1024,),
    "G.model.layer_0.add1.BNorm.weight": (1024,),
    "G.model.layer_0.add1.conv_f.weight": (1024, 1024, 3, 3),
    "G.model.layer_0.add2.fc_1.weight": (1024, 256),
    "G.model.layer_0.add2.fc_2.bias": (1024,),
    "G.model.layer_1.add1.conv1.weight": (1024, 2048, 3, 3),
    "G.model.layer_3.conv1.bias": (1024,),
    "G.model.layer_3.conv2.weight": (512, 1024, 3, 3),
    "G.model.layer_3.add3.conv2.bias": (1024,),
    "G.model.layer_3.conv3.weight": (512, 1024, 3, 3),
    "G.model.layer_7.add1.conv2.weight": (64, 64, 3, 3),
    "G.model.layer_7.conv3.weight": (3, 64, 3, 3),
    "Z.conv1.weight": (64, 3, 7, 7),
    "Z.layer3.22.conv2.weight": (256, 256, 3, 3),
    "Z.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    "Z.fc.weight": (256, 2048),
}
NOTHING = IdentityFeatures(torch.zeros(2, 4), torch.zeros(2, 4, 2, 2))


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights that keep the signal alive, of a network with few channels; statistics that are no default."""
    torch.manual_seed(0)
    state = AeiNet(DOWN, UP, WIDTHS, DIM, DEPTHS).state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean") or (name[0] != "Z" and value.ndim == 1):
            value.add_(0.2 * torch.randn(value.shape))
        elif name[0] != "Z" and value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
    return state


@pytest.fixture
def file(tmp_path, tensors):
    """Writes a checkpoint as its training does, with these tensors or the random ones, and returns the path."""

    def write(changed: dict[str, Tensor] | None = None):
        path = tmp_path / "epoch=9.ckpt"
        discriminator = {"D.layer0.0.weight": torch.ones(2), "D.layer2.3.running_var": torch.ones(2)}
        state = (tensors if changed is None else changed) | discriminator
        torch.save({"epoch": 9, "hyper_parameters": AttributeDict(config="train.yaml"), "state_dict": state}, path)
        return path

    return write


def without(tensors: dict[str, Tensor], *beginnings: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if not key.startswith(beginnings)}


def test_published_sizes_names_and_shapes():
    with torch.device("meta"):
        network, alone = AeiNet(), resnet101(num_classes=256)
    counts = [sum(p.numel() for p in part.parameters()) for part in (network.E, network.G, network.Z)]
    assert counts == [ENCODER, GENERATOR, RECOGNISER]
    state = network.state_dict()
    assert len(state) == TENSORS
    assert {key: tuple(state[key].shape) for key in SHAPES} == SHAPES
    assert {key: value.shape for key, value in network.Z.state_dict().items()} == {
        key: value.shape for key, value in alone.state_dict().items()
    }


def _conv(x: Tensor, p: dict[str, Tensor], name: str, stride: int = 1) -> Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], stride, 1)


def _maps(x: Tensor, p: dict[str, Tensor]) -> list[Tensor]:
    folded = []
    for i in range(7):
        x = leaky(norm(_conv(x, p, f"E.Encoder.layer_{i}.0", 2), p, f"E.Encoder.layer_{i}.1"))
        folded.append(x)
    maps = [x]
    for i in range(6):
        name = f"E.Decoder.layer_{i}"
        x = F.conv_transpose2d(x, p[f"{name}.0.weight"], p[f"{name}.0.bias"], 2, 1)
        x = torch.cat([leaky(norm(x, p, f"{name}.1")), folded[5 - i]], 1)
        maps.append(x)
    return [*maps, twice(x)]


def _aad(h: Tensor, a: Tensor, z: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    def linear(key: str) -> Tensor:
        return (z @ p[f"{name}.{key}.weight"].T + p[f"{name}.{key}.bias"])[:, :, None, None]

    h = norm(h, p, f"{name}.BNorm")
    mask = 1 / (1 + (-_conv(h, p, f"{name}.conv_f")).exp())
    by_attributes = _conv(a, p, f"{name}.conv1") * h + _conv(a, p, f"{name}.conv2")
    by_identity = linear("fc_1") * h + linear("fc_2")
    return (1 - mask) * by_attributes + mask * by_identity


def literal(target: Tensor, z: Tensor, p: dict[str, Tensor]) -> Tensor:
    maps = _maps(target, p)
    h = F.conv_transpose2d(z[:, :, None, None], p["G.convt.weight"], p["G.convt.bias"])
    for i in range(8):
        name, x = f"G.model.layer_{i}", h
        for n in (1, 2):
            x = _conv(_aad(x, maps[i], z, p, f"{name}.add{n}").clamp_min(0), p, f"{name}.conv{n}")
        if f"{name}.conv3.weight" in p:
            h = _conv(_aad(h, maps[i], z, p, f"{name}.add3").clamp_min(0), p, f"{name}.conv3")
        h = x + h
        h = twice(h) if i < 7 else h
    return 1 / (1 + (-h).exp())


def test_network_computes_what_was_published(tensors):
    network = AeiNet(DOWN, UP, WIDTHS, DIM, DEPTHS).eval()
    network.load_state_dict(tensors)
    network.double()
    g = torch.Generator().manual_seed(2)
    target, source = torch.rand(2, 2, 3, 256, 256, generator=g, dtype=torch.float64)
    with torch.no_grad():
        found, maps = network(target, source), network.E(target)
        small = F.interpolate(source, (112, 112), mode="bilinear")
        z = network.Z(small)
        z = z / z.square().sum(1, keepdim=True).sqrt()
        expected = literal(target, z, network.state_dict())
    sizes = [(m.shape[1], m.shape[2]) for m in maps]
    assert sizes == [(5, 2), (15, 4), (12, 8), (10, 16), (8, 32), (6, 64), (4, 128), (4, 256)]
    assert len([key for key in tensors if key.endswith("conv3.weight") and key[0] == "G"]) == 7
    assert expected.std() > 0.05
    assert (expected[0] - expected[1]).abs().mean() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_a_batch_is_as_many_single_faces(tensors):
    network = AeiNet(DOWN, UP, WIDTHS, DIM, DEPTHS).eval()
    network.load_state_dict(tensors)
    target, source = torch.rand(2, 3, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        together = network(target, source)
        alone = torch.cat([network(target[i : i + 1], source[i : i + 1]) for i in range(3)])
    assert together.shape == (3, 3, 256, 256)
    assert together.min() >= 0
    assert together.max() <= 1
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    for shape in ((3, 3, 224, 224), (2, 3, 256, 256)):
        with raises(ValueError, "target and identity"):
            network(torch.zeros(shape), source)


def test_a_checkpoint_is_loaded_whole_without_its_discriminator(file, tensors):
    loaded = FaceShifterTeacher(file(), "ffhq").net.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("stride", [151, pytest.param(31, marks=pytest.mark.slow)])
def test_every_missing_strange_or_reshaped_tensor_is_named(file, tensors, stride):
    keys = [key for key in tensors if not key.endswith("num_batches_tracked")]
    for key in [*keys[::stride], "G.convt.weight", "E.Encoder.layer_2.0.weight", "Z.layer2.1.bn2.bias"]:
        with raises(UnfitTensors, "epoch=9.ckpt", missing=[key]):
            FaceShifterTeacher(file({name: value for name, value in tensors.items() if name != key}), "ffhq")
    for key in ("Loss_GAN.weight", "DD.weight", "Z.layer3.9.conv1.weight"):
        with raises(UnfitTensors, "epoch=9.ckpt", extra=[key]):
            FaceShifterTeacher(file(tensors | {key: torch.ones(2)}), "ffhq")
    for key in ("G.model.layer_2.conv2.weight", "E.Decoder.layer_4.1.running_mean", "Z.fc.weight"):
        with raises(UnfitTensors, "epoch=9.ckpt", misshaped=[key]):
            FaceShifterTeacher(file(tensors | {key: tensors[key][:1]}), "ffhq")


def test_files_of_other_families_are_named(file, tmp_path):
    with raises(ForeignFile, "FaceShifter (maum-ai)", found="GHOST"):
        FaceShifterTeacher(file({"generator.AADBlk1.add_blocks.0.conv1.weight": torch.ones(2)}), "ffhq")
    with raises(UnfitTensors, missing=["E.Encoder.layer_0.0.weight"]):
        FaceShifterTeacher(file({"Z.weight": torch.ones(2)}), "ffhq")
    with raises(OptionError, argument="weights", value=None):
        FaceShifterTeacher(None, "ffhq")
    with raises(MissingFile, path=tmp_path / "missing.ckpt"):
        FaceShifterTeacher(tmp_path / "missing.ckpt", "ffhq")


def test_the_recogniser_may_come_from_a_file_of_its_own(file, tensors, tmp_path):
    alone, wrong, ghost = (tmp_path / name for name in ("Arcface.pth", "wrong.pth", "ghost.pth"))
    recogniser = {key.removeprefix("Z."): value for key, value in tensors.items() if key.startswith("Z.")}
    torch.save(recogniser, alone)
    torch.save(recogniser | {"fc.weight": torch.ones(5, 2048)}, wrong)
    torch.save({"generator.AADBlk1.add_blocks.0.conv1.weight": torch.ones(2)}, ghost)
    stripped = file(without(tensors, "Z."))
    loaded = FaceShifterTeacher(stripped, "ffhq", alone).net.state_dict()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    with raises(OptionError, str(stripped), argument="identity_weights", value=None):
        FaceShifterTeacher(stripped, "ffhq")
    with raises(UnfitTensors, "wrong.pth", misshaped=["Z.fc.weight"]):
        FaceShifterTeacher(stripped, "ffhq", wrong)
    with raises(ForeignFile, path=ghost, found="GHOST"):
        FaceShifterTeacher(stripped, "ffhq", ghost)
    with raises(OptionError, argument="identity_weights", value=alone):
        FaceShifterTeacher(file(), "ffhq", alone)


def test_faces_end_to_end(file):
    batch = strangers()
    teacher = FaceShifterTeacher(file(), "ffhq")
    out = teacher(batch, NOTHING)
    assert out.shape == batch.target.shape
    target, source = (F.interpolate(x, 256, mode="bilinear") for x in (batch.target, batch.source))
    with torch.no_grad():
        expected = F.interpolate(teacher.net(target, source), 64, mode="bilinear", antialias=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)
    assert (out - batch.target).abs().mean() > 0.02
    other = teacher(batch._replace(source=batch.source.flip(0)), NOTHING)
    assert (out - other).abs().max() > 1e-4
    tighter = FaceShifterTeacher(file(), "arcface_112_v2")(batch, NOTHING)
    assert tighter.shape == out.shape
    assert (tighter - out).abs().mean() > 1e-3


def test_a_student_learns_from_it_while_it_stays_frozen(file, learn_from):
    learn_from(FaceShifterTeacher(file(), "ffhq"))


@pytest.mark.slow
def test_the_published_size_loads_and_runs(file):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in AeiNet().state_dict().items()}
    teacher = FaceShifterTeacher(file({key: torch.zeros(shape).half() for key, shape in shapes.items()}), "ffhq")
    target, source = torch.rand(2, 1, 3, 256, 256)
    with torch.no_grad():
        torch.testing.assert_close(teacher.net(target, source), torch.full((1, 3, 256, 256), 0.5))
