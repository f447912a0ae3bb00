import pytest
import torch
from torch import nn

from idn.errors import DamagedFile, ForeignFile, MissingFile, OptionError, UnfitTensors
from idn.files.tensors import write_tensors
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import SIGNS, load_network, read_network, recognise
from tests.raising import raises

RECORD = TeacherRecord("simswap_224", "CC-BY-NC-4.0", False, FaceInput(), SourceInput("nothing"))


@pytest.mark.parametrize("family", SIGNS)
def test_every_family_is_recognised_by_its_own_signs(family):
    assert recognise(SIGNS[family]) == family


def test_the_more_special_family_wins():
    keys = ["first_layer.1.weight", "BottleNeck.0.style1.linear.weight", "down4.0.weight"]
    assert recognise(keys) == "SimSwap 512 (Gdeep)"


def test_an_unknown_network_is_nobody():
    assert recognise(["conv.weight", "fc.bias"]) is None


def test_a_file_of_another_family_is_named(tmp_path):
    path = tmp_path / "G_unet_2blocks.safetensors"
    write_tensors(path, {"generator.AADBlk1.add_blocks.0.conv1.weight": torch.zeros(1)})
    with raises(ForeignFile, "SimSwap 224", path=path, found="GHOST"):
        read_network(path, RECORD, "SimSwap 224")


def test_a_missing_option_tells_where_to_look():
    with pytest.raises(OptionError) as error:
        read_network(None, RECORD, "SimSwap 224")
    assert error.value.argument == "weights"
    assert "`idn teachers` says what it is called" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with raises(MissingFile, path=tmp_path / "nowhere.pth"):
        read_network(tmp_path / "nowhere.pth", RECORD, "SimSwap 224")


def test_the_declared_size_is_checked_before_anything_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"abc")
    declared = TeacherRecord("t", "l", None, FaceInput(), SourceInput("nothing"), file_bytes=4)
    with raises(DamagedFile, "3 bytes", "4 ", path=path):
        read_network(path, declared, "SimSwap 224")


def test_loading_names_family_file_and_key():
    with raises(UnfitTensors, "SimSwap 224", "f.pth", missing=["bias"]):
        load_network(nn.Linear(2, 1), {"weight": torch.zeros(1, 2)}, "f.pth", "SimSwap 224")
