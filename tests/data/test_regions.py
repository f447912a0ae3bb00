from pathlib import Path

import pytest
import torch

from idn.data import face_parsing as parsing
from idn.data.face_parsing import FACE, LABELS, BiSeNet, ParsingRegions
from idn.data.regions import LandmarkRegions
from idn.errors import OptionError, UnfitTensors
from idn.geometry.affine import transform_points
from idn.geometry.templates import TEMPLATES, between_templates, template_points
from tests.raising import raises


def at(region: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    size = region.shape[-1]
    x, y = (points * size).long().clamp(0, size - 1).unbind(-1)
    return region[0, y, x]


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_region_holds_the_landmarks_and_not_the_corners(template: str) -> None:
    region = LandmarkRegions(template)(torch.rand(2, 3, 96, 96), None)
    assert region.shape == (2, 1, 96, 96) and region.dtype == torch.float32
    assert region.min() >= 0 and region.max() == 1
    assert (at(region[0], template_points(template)) > 0.95).all()
    outer = transform_points(
        torch.tensor([[0.1, 0.2], [0.9, 0.2], [0.5, 0.1]]).double(), between_templates("ffhq", template)
    )
    assert (at(region[0], outer) == 0).all()


def test_region_is_soft_at_its_edge_only() -> None:
    region = LandmarkRegions("ffhq", edge=0.15)(torch.zeros(1, 3, 128, 128), None)
    steps = region.diff(dim=-1).abs().max(), region.diff(dim=-2).abs().max()
    assert max(steps) < 0.4
    between = ((region > 0) & (region < 1)).float().mean()
    assert 0.02 < between < 0.15
    assert 0.15 < region.mean() < 0.35


def test_region_follows_landmarks() -> None:
    images = torch.zeros(2, 3, 64, 64)
    points = template_points("ffhq").expand(2, 5, 2).clone()
    points[1] = points[1] * 0.5 + 0.1
    region = LandmarkRegions("arcface_128")(images, points)
    wanted = LandmarkRegions("ffhq")(images[:1], None)
    torch.testing.assert_close(region[:1], wanted)
    assert region[1].sum() == pytest.approx(float(region[0].sum()) / 4, rel=0.02)
    assert (at(region[1], points[1]) > 0.95).all()


def test_impossible_options_are_refused() -> None:
    with raises(OptionError, argument="edge"):
        LandmarkRegions("ffhq", edge=0)
    with raises(OptionError, argument="template", value="dlib"):
        LandmarkRegions("dlib")


def test_parser_has_the_published_shape() -> None:
    with torch.device("meta"):
        net = BiSeNet()
    tensors = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == 13_300_416
    assert sum(t.numel() for t in tensors.values()) * 4 < 53_289_463  # bytes of the published file
    published = {
        "cp.resnet.conv1.weight": (64, 3, 7, 7),
        "cp.resnet.layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "cp.resnet.layer4.1.bn2.running_var": (512,),
        "cp.arm16.conv.conv.weight": (128, 256, 3, 3),
        "cp.arm32.conv_atten.weight": (128, 128, 1, 1),
        "cp.arm32.bn_atten.weight": (128,),
        "cp.conv_head16.bn.weight": (128,),
        "cp.conv_avg.conv.weight": (128, 512, 1, 1),
        "ffm.convblk.conv.weight": (256, 256, 1, 1),
        "ffm.conv1.weight": (64, 256, 1, 1),
        "ffm.conv2.weight": (256, 64, 1, 1),
        "conv_out.conv.conv.weight": (256, 256, 3, 3),
        "conv_out.conv_out.weight": (19, 256, 1, 1),
        "conv_out16.conv.conv.weight": (64, 128, 3, 3),
        "conv_out32.conv_out.weight": (19, 64, 1, 1),
    }
    assert {name: tuple(tensors[name].shape) for name in published} == published
    assert {name.split(".")[0] for name in tensors} == {"cp", "ffm", "conv_out", "conv_out16", "conv_out32"}


def test_face_labels() -> None:
    assert [LABELS.index(name) for name in FACE] == [1, 2, 3, 4, 5, 10, 11, 12, 13]
    assert len(LABELS) == 19 and LABELS[17] == "hair" and LABELS[6] == "glasses"


@pytest.fixture(scope="module")
def random_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return BiSeNet().state_dict()


@pytest.fixture
def weights(tmp_path: Path, random_state: dict[str, torch.Tensor]) -> Path:
    torch.save(random_state, tmp_path / "79999_iter.pth")
    return tmp_path / "79999_iter.pth"


def test_parsing_region_is_the_probability_of_face(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "SIZE", 64)
    regions = ParsingRegions(str(weights))
    images = torch.rand(2, 3, 32, 32)
    region = regions(images, None)
    assert region.shape == (2, 1, 32, 32) and region.min() >= 0 and region.max() <= 1
    with torch.no_grad():
        regions.net.conv_out.conv_out.weight.zero_()
    torch.testing.assert_close(regions(images, None), torch.full((2, 1, 32, 32), 9 / 19))
    assert not regions.training and not any(p.requires_grad for p in regions.parameters())


def test_incomplete_weights_are_refused(weights: Path) -> None:
    tensors = torch.load(weights, weights_only=True)
    del tensors["ffm.conv1.weight"]
    torch.save(tensors, weights)
    with raises(UnfitTensors, missing=["ffm.conv1.weight"]):
        ParsingRegions(str(weights))
