import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.encoders.mobilefacenet import MobileFaceNet, MobileFaceNetEncoder
from idn.errors import OptionError, UnfitTensors
from idn.geometry.affine import fit_similarity
from idn.geometry.templates import template_points
from idn.geometry.warping import warp
from tests.raising import raises

SHARED = Path(__file__).parents[2] / "../shared"
WEIGHTS = SHARED / "weights/mobilefacenet.pt"
FACES = SHARED / "data/faces"
TEMPLATE = "arcface_112_v2"
POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


@pytest.mark.parametrize(("size", "side"), [(112, 7), (96, 6), (80, 5), (64, 8), (56, 7)])
def test_maps_have_the_sizes_it_declares(size, side):
    net = MobileFaceNet(0.25, 32, size, TEMPLATE, TEMPLATE).eval()
    seen = net(torch.rand(2, 3, size, size))
    assert seen.features.shape == (2, net.feature_channels, net.feature_size, net.feature_size)
    assert net.feature_size == side
    assert seen.embedding.shape == (2, net.embedding_dim) == (2, 32)
    sides = [map_.shape[-1] for map_ in seen.shallow]
    assert sides == sorted(sides, reverse=True) and len(sides) == 3 and sides[0] == size // 2


@pytest.mark.parametrize("size", [24, 60, 100])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with raises(OptionError, argument="input_size", value=size):
        MobileFaceNet(1.0, 128, size, TEMPLATE, TEMPLATE)


def test_every_parameter_learns():
    net = MobileFaceNet(0.25, 16, 56, TEMPLATE, TEMPLATE)
    seen = net(torch.rand(4, 3, 56, 56))
    (seen.embedding @ torch.randn(16)).sum().backward()
    assert [
        name for name, value in net.named_parameters() if value.grad is None or not value.grad.isfinite().all()
    ] == []
    assert net.stem.conv.weight.grad.abs().sum() > 0


def test_folding_changes_no_output():
    net = MobileFaceNet(0.25, 16, 56, TEMPLATE, TEMPLATE)
    for _ in range(3):
        net(torch.rand(8, 3, 56, 56))
    net.eval().requires_grad_(False)
    images = torch.rand(2, 3, 56, 56)
    before = net(images)
    net.fold()
    after = net(images)
    torch.testing.assert_close(after.embedding, before.embedding, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.features, before.features, atol=1e-4, rtol=1e-3)


def test_the_published_encoder_needs_its_file():
    with raises(OptionError, argument="weights"):
        MobileFaceNetEncoder(None, TEMPLATE)


def _aligned(row, template, size):
    with Image.open(FACES / row["file"]) as file:
        image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    extent = torch.tensor([image.shape[-1], image.shape[-2]], dtype=torch.float64)
    points = torch.tensor([[float(row[f"{p}_x"]), float(row[f"{p}_y"])] for p in POINTS], dtype=torch.float64)
    return warp(image, fit_similarity((points + 0.5) / extent, template_points(template)), size)


@pytest.mark.skipif(not WEIGHTS.exists() or not FACES.exists(), reason="the shared weights and portraits are not here")
@pytest.mark.parametrize(("crop_template", "size"), [(TEMPLATE, 112), ("ffhq", 224)])
def test_published_weights_tell_people_apart(crop_template, size):
    encoder = MobileFaceNetEncoder(WEIGHTS, crop_template)
    with (FACES / "index.csv").open() as file:
        rows = list(csv.DictReader(file))[::26][:40]
    faces = torch.cat([_aligned(row, crop_template, size) for row in rows])
    with torch.no_grad():
        seen = encoder(faces)
        cosines = seen.embedding @ encoder(faces.flip(-1) * 0.6).embedding.T
    own, others = cosines.diagonal(), cosines[~torch.eye(len(rows), dtype=torch.bool)]
    assert seen.features.shape[1:] == (512, 7, 7)
    assert own.mean() > 0.87 and own.min() > 0.6
    assert others.mean().abs() < 0.12 and 0.08 < others.std() < 0.16


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the shared weights are not here")
def test_a_file_of_another_network_is_refused(tmp_path):
    state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    del state["features.3.conv.2.weight"]
    torch.save(state, tmp_path / "cut.pt")
    with raises(UnfitTensors, missing=["stages.0.3.narrow.conv.weight"]):
        MobileFaceNetEncoder(tmp_path / "cut.pt", TEMPLATE)


@pytest.mark.skipif(not WEIGHTS.exists(), reason="no ../shared weights")
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "encoder.net."])
def test_published_weights_are_known_however_they_were_wrapped(tmp_path, prefix):
    plain = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    torch.save({"state_dict": {f"{prefix}{key}": value for key, value in plain.items()}}, tmp_path / "wrapped.ckpt")
    picture = torch.rand(1, 3, 64, 64)
    expected = MobileFaceNetEncoder(WEIGHTS, "ffhq")(picture).embedding
    assert torch.equal(MobileFaceNetEncoder(tmp_path / "wrapped.ckpt", "ffhq")(picture).embedding, expected)
