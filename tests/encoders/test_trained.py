import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from idn.data.procedural import FaceRenderer, verification_pairs
from idn.encoders.description import describe_encoder as marked
from idn.encoders.description import same_mark
from idn.encoders.mobilefacenet import MobileFaceNet
from idn.encoders.trained import BUNDLED, BUNDLED_RECOGNISER, ProceduralRecogniser, TrainedMobileFaceNet, save_trained
from idn.errors import EncoderMismatch, ForeignFile, MissingFile
from idn.files.tensors import read_metadata, read_tensors, write_tensors
from idn.metrics.verification import verify
from idn.teacher_cache.manifest import describe_encoder, same_encoder
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

TEMPLATE = "arcface_112_v2"


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = MobileFaceNet(0.25, 24, 56, TEMPLATE, "ffhq")
    for _ in range(3):
        net(torch.rand(8, 3, 80, 80))
    return net.eval()


def test_saving_and_loading_keeps_the_embedding(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_trained(network, path, "Apache-2.0", "idn train-encoder", {"accuracy": 0.5})
    encoder = TrainedMobileFaceNet(path, "ffhq")
    images = torch.rand(3, 3, 80, 80)
    with torch.no_grad():
        cosine = (encoder(images).embedding * network(images).embedding).sum(1)
    assert cosine.min() > 0.9999
    assert (encoder.embedding_dim, encoder.feature_channels, encoder.feature_size) == (24, 512, 7)
    assert encoder.licence == "Apache-2.0"
    assert read_metadata(path)["command"] == "idn train-encoder"


def test_kernels_take_half_the_room_and_the_network_stays_single(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_trained(network, path, "Apache-2.0", "idn train-encoder", {})
    assert path.stat().st_size < 3 * sum(p.numel() for p in network.parameters())
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_files_that_are_no_encoder_are_refused(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "plain.safetensors")
    with raises(ForeignFile, path=tmp_path / "plain.safetensors"):
        TrainedMobileFaceNet(tmp_path / "plain.safetensors", TEMPLATE)
    with raises(MissingFile, path=tmp_path / "absent.safetensors"):
        TrainedMobileFaceNet(tmp_path / "absent.safetensors", TEMPLATE)


def without(path, out, *left_out, **changed):
    """A copy of an encoder's file with other notes."""
    notes = {key: value for key, value in (read_metadata(path) | changed).items() if key not in left_out}
    write_tensors(out, read_tensors(path), notes)
    return out


def test_the_name_follows_the_weights_and_not_the_file(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_trained(network, path, "Apache-2.0", "idn train-encoder", {})
    name = TrainedMobileFaceNet(path, "ffhq").name
    assert re.fullmatch("MobileFaceNet [0-9a-f]{8}", name) and read_metadata(path)["name"] == name
    moved = TrainedMobileFaceNet(path.rename(tmp_path / "mine.safetensors"), "ffhq")
    assert moved.name == name
    with torch.no_grad():
        network.embed.weight[0, 0] += 1
    save_trained(network, path, "Apache-2.0", "idn train-encoder", {})
    other = TrainedMobileFaceNet(path, "ffhq")
    assert other.name != name


def test_what_a_file_says_of_its_name_changes_nothing(network, tmp_path):
    save_trained(network, tmp_path / "whole.safetensors", "Apache-2.0", "idn train-encoder", {})
    whole = TrainedMobileFaceNet(tmp_path / "whole.safetensors", "ffhq")
    for number, changes in enumerate(({"name": "w600k_r50"}, {})):
        path = without(tmp_path / "whole.safetensors", tmp_path / f"{number}.safetensors", "name", **changes)
        assert TrainedMobileFaceNet(path, "ffhq").name == whole.name


class Reader(FrozenTeacher):
    """A teacher that was trained with embeddings of an encoder of that name."""

    def __init__(self, encoder):
        source = SourceInput("shared_embedding", encoder=encoder, dim=24)
        super().__init__(TeacherRecord("reader", "CC0", True, FaceInput(), source), "ffhq")

    def swap(self, target, batch, source):
        return target


def test_teachers_and_caches_know_an_encoder_by_its_name(network, tmp_path):
    for tensor in network.state_dict().values():  # exact numbers: those that are drawn differ between processors
        tensor.copy_((torch.arange(tensor.numel()) % 17 + 1).view(tensor.shape) / 32)
    save_trained(network, tmp_path / "mine.safetensors", "Apache-2.0", "idn train-encoder", {})
    encoder = TrainedMobileFaceNet(tmp_path / "mine.safetensors", "ffhq")
    declared = describe_encoder(encoder, 32)
    Reader(encoder.name).attach(None, encoder)
    assert same_encoder(declared, encoder, 32)
    assert not same_encoder(declared | {"name": "MobileFaceNet mine"}, encoder, 32)
    with raises(EncoderMismatch, wanted="MobileFaceNet mine", given="MobileFaceNet 607d4152"):
        Reader("MobileFaceNet mine").attach(None, encoder)


@pytest.mark.parametrize(
    "damage",
    [{"left_out": ["config"]}, {"left_out": ["licence"]}, {"config": "{}"}, {"config": "{"}, {"config": "[]"}],
    ids=str,
)
def test_files_that_do_not_say_everything_are_refused(network, tmp_path, damage):
    save_trained(network, tmp_path / "whole.safetensors", "Apache-2.0", "idn train-encoder", {})
    left_out = damage.pop("left_out", [])
    path = without(tmp_path / "whole.safetensors", tmp_path / "less.safetensors", *left_out, **damage)
    with raises(ForeignFile, path=path):
        TrainedMobileFaceNet(path, "ffhq")


def test_the_bundled_encoder_is_small_and_loads_under_its_name_wherever_it_lies(tmp_path):
    assert BUNDLED.stat().st_size <= 2.5e6
    encoder = TrainedMobileFaceNet(None, "ffhq")
    copy = TrainedMobileFaceNet(shutil.copy(BUNDLED, tmp_path / "copy.safetensors"), "ffhq")
    assert encoder.name == copy.name == "MobileFaceNet procedural_mobilefacenet"
    assert encoder.feature_size == 7
    assert encoder(torch.rand(1, 3, 64, 64)).embedding.isfinite().all()


def test_the_bundled_recogniser_is_another_network_and_as_small():
    assert BUNDLED_RECOGNISER.stat().st_size <= 0.7e6
    recogniser, encoder = ProceduralRecogniser("ffhq"), TrainedMobileFaceNet(None, "ffhq")
    assert recogniser.name == "MobileFaceNet procedural_recogniser" and recogniser.drawn_only
    assert recogniser.embedding_dim != encoder.embedding_dim and recogniser.input_size != encoder.input_size
    assert recogniser.template != encoder.template
    assert not same_mark(marked(recogniser), marked(encoder)) and same_mark(
        marked(recogniser), marked(ProceduralRecogniser("mtcnn"))
    )


def test_the_bundled_encoders_tell_strangers_apart():
    a, b, same = next(verification_pairs(FaceRenderer(), 96, 60, 20260101))
    for encoder, auc in ((TrainedMobileFaceNet(None, "ffhq"), 0.99), (ProceduralRecogniser("ffhq"), 0.95)):
        first, second = encoder(torch.cat([a, b])).embedding.chunk(2)
        assert verify((first * second).sum(1), same, 5)["auc"] > auc, encoder.name
