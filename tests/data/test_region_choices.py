"""`data/regions=...`: who says where the face is in photographs, as one types it."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from idn.cli import conf_dir
from idn.cli.instantiate import build
from idn.data.face_parsing import BiSeNet, ParsingRegions
from idn.data.loaders import SwapData
from idn.data.regions import LandmarkRegions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """8 crops in the "ffhq" framing."""
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (64, 64), (number * 30, 90, 90)).save(folder / f"{number}.png")
    return folder


def faces(root: Path, *options: str) -> SwapData:
    words = ["data=faces", f"data.root={root}", "data.stored_template=ffhq", "data.holdout=0.5", "data.size=32"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return build(compose("train", [*words, "data.workers=0", *options]).data)


def test_landmarks_are_the_default(root: Path) -> None:
    assert isinstance(faces(root, "data.regions.edge=0.3").train.regions, LandmarkRegions)


def test_a_face_parser_is_one_choice_and_its_file(root: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(BiSeNet().state_dict(), tmp_path / "79999_iter.pth")
    data = faces(root, "data/regions=parsing", f"data.regions.weights={tmp_path / '79999_iter.pth'}")
    assert isinstance(data.train.regions, ParsingRegions) and data.val.dataset.regions is data.train.regions
    face = data.val[0].face
    assert face.shape == (4, 1, 32, 32) and face.min() >= 0 and face.max() <= 1 and face.std() > 0


def test_its_file_must_be_given(root: Path, idn_cli) -> None:
    status, _, err = idn_cli("train", "data=faces", f"data.root={root}", "data/regions=parsing")
    assert status == 2 and "data.regions.weights" in err and len(err.strip().splitlines()) == 1
