"""`idn import`: published files are recognised by their keys; nothing else is written."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from idn.encoders.arcface import ArcFaceEncoder, ArcFaceNet
from idn.errors import UserError
from idn.students.import_published import import_published


def test_arcface_is_written_as_weights_that_the_encoder_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ArcFaceNet()
    torch.save({"module." + key: value for key, value in net.state_dict().items()}, tmp_path / "arcface.tar")
    said = import_published(tmp_path / "arcface.tar", tmp_path / "arcface.safetensors")
    assert "encoder=arcface" in said
    encoder = ArcFaceEncoder(tmp_path / "arcface.safetensors", "arcface_112_v2")
    assert torch.equal(encoder.net.fc.weight, net.fc.weight)


def test_an_arcface_with_a_missing_key_is_refused(tmp_path: Path) -> None:
    tensors = ArcFaceNet().state_dict()
    del tensors["layer2.1.conv1.weight"]
    torch.save(tensors, tmp_path / "arcface.pt")
    with pytest.raises(UserError, match=r"layer2\.1\.conv1\.weight"):
        import_published(tmp_path / "arcface.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_other_files_and_outputs_are_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"neither MobileFaceSwap.*conv\.weight"):
        import_published(tmp_path / "other.safetensors", tmp_path / "out.safetensors")
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        import_published(tmp_path / "other.safetensors", tmp_path / "out.pt")
