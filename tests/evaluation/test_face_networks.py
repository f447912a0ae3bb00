"""HopeNet, L2CS-Net and Deep3DFaceRecon by files that we make, against their programs written out literally."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from idn.errors import ForeignFile, MissingFile, UnfitTensors
from idn.evaluation import face_networks
from idn.evaluation.face_networks import (
    AngleNet,
    CoefficientNet,
    Deep3DExpression,
    HopeNet,
    L2CSNet,
    cut_boxes,
    face_boxes,
    standard_boxes,
)
from idn.geometry.templates import template_points
from tests.raising import raises

SIDE = 96
POINTS = template_points("ffhq").float()[None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage with one block, and smaller crops: the published ones have the same code and 24 million weights."""
    monkeypatch.setattr(face_networks, "_RESNET50", [1, 1, 1, 1])
    monkeypatch.setattr(face_networks, "_SIDE", SIDE)


def picture() -> torch.Tensor:
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, 128, mode="bicubic").clamp(0, 1)


def written(net: torch.nn.Module, path: Path, **wrapped: object) -> Path:
    """A file of a network, without the counters that files of 2017 lack."""
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save({"net_recon": state, **wrapped} if wrapped else state, path)
    return path


def body(state: dict[str, torch.Tensor], x: torch.Tensor, prefix: str = "") -> torch.Tensor:
    """A ResNet of bottlenecks, layer by layer, as its paper draws it, up to the mean over the map."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (state[f"{prefix}{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def weight(name: str) -> torch.Tensor:
        return state[f"{prefix}{name}.weight"]

    x = F.max_pool2d(norm(F.conv2d(x, weight("conv1"), stride=2, padding=3), "bn1").relu(), 3, 2, 1)
    for stage in range(1, 5):
        name, stride = f"layer{stage}.0.", 1 if stage == 1 else 2
        y = norm(F.conv2d(x, weight(f"{name}conv1")), f"{name}bn1").relu()
        y = norm(F.conv2d(y, weight(f"{name}conv2"), stride=stride, padding=1), f"{name}bn2").relu()
        y = norm(F.conv2d(y, weight(f"{name}conv3")), f"{name}bn3")
        x = norm(F.conv2d(x, weight(f"{name}downsample.0"), stride=stride), f"{name}downsample.1")
        x = (x + y).relu()
    return x.mean((2, 3))


def angle(state: dict[str, torch.Tensor], pooled: torch.Tensor, head: str) -> float:
    logits = F.linear(pooled, state[f"{head}.weight"], state[f"{head}.bias"])[0].double()
    shares = [math.exp(float(v)) for v in logits]
    return sum(k * share for k, share in enumerate(shares)) / sum(shares)


def normalised(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def randomised(net: torch.nn.Module) -> torch.nn.Module:
    """Statistics and heads that do something."""
    torch.manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return net.eval()


def test_hopenet_gives_what_its_program_gives(tmp_path: Path) -> None:
    net = randomised(AngleNet(("fc_yaw", "fc_pitch", "fc_roll"), 66))
    state = net.state_dict()
    mine = HopeNet(written(net, tmp_path / "hopenet.pkl"))
    left, top, right, bottom = face_boxes(POINTS, (0.475, 1.165, 1.165))[0].tolist()
    wide, high = right - left, bottom - top
    box = [left - 2 * wide / 4, top - 3 * high / 4, right + 2 * wide / 4, bottom + high / 4]
    pooled = body(state, normalised(cut_boxes(picture(), torch.tensor([box]))))
    wanted = [angle(state, pooled, head) * 3 - 99 for head in ("fc_yaw", "fc_pitch", "fc_roll")]
    found = mine(picture(), POINTS)
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-3)
    assert mine.distance(found, found + torch.tensor([3.0, 0, 4])).tolist() == pytest.approx([5])


@pytest.mark.parametrize(("bins", "width", "below"), [(90, 4, 180), (28, 3, 42)])
def test_l2cs_gives_what_its_program_gives(bins: int, width: int, below: int, tmp_path: Path) -> None:
    net = randomised(AngleNet(("fc_yaw_gaze", "fc_pitch_gaze"), bins))
    state = net.state_dict()
    mine = L2CSNet(written(net, tmp_path / "l2cs.pkl"))
    crop = cut_boxes(picture(), face_boxes(POINTS, (0.317, 1.1, 1.485)))
    pooled = body(state, normalised(F.interpolate(crop, 2 * SIDE, mode="bilinear")))
    a, b = (math.radians(angle(state, pooled, head) * width - below) for head in ("fc_yaw_gaze", "fc_pitch_gaze"))
    wanted = [-math.cos(b) * math.sin(a), -math.sin(b), -math.cos(b) * math.cos(a)]
    found = mine(picture(), POINTS)
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-4)
    assert mine.distance(torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.6, 0.8, 0]])).tolist() == pytest.approx(
        [math.degrees(math.acos(0.6))]
    )


def test_deep3d_gives_the_expression_of_its_program(tmp_path: Path) -> None:
    net = randomised(CoefficientNet())
    state = net.state_dict()
    mine = Deep3DExpression(written(net, tmp_path / "epoch_20.pth", opt_00={"state": {}, "param_groups": []}))
    size = 128
    face = np.array(face_networks._STANDARD_FACE)
    seen = POINTS[0].double().numpy() * size
    seen[:, 1] = size - seen[:, 1]  # y upwards
    rows, right = np.zeros((10, 8)), np.zeros(10)
    for k in range(5):
        rows[2 * k, :3], rows[2 * k, 3], right[2 * k] = face[k], 1, seen[k, 0]
        rows[2 * k + 1, 4:7], rows[2 * k + 1, 7], right[2 * k + 1] = face[k], 1, seen[k, 1]
    fit = np.linalg.lstsq(rows, right, rcond=None)[0]
    scale = 102 * SIDE / 224 / ((np.linalg.norm(fit[:3]) + np.linalg.norm(fit[4:7])) / 2)
    middle = np.array([fit[3], size - fit[7]])
    box = np.concatenate([middle - SIDE / 2 / scale, middle + SIDE / 2 / scale]) / size
    assert standard_boxes(POINTS)[0].tolist() == pytest.approx(box.tolist(), abs=1e-4)
    pooled = body(state, cut_boxes(picture(), torch.tensor(box[None]).float(), "zeros"), "backbone.")
    wanted = state["final_layers.1.weight"][:, :, 0, 0] @ pooled[0] + state["final_layers.1.bias"]
    found = mine(picture(), POINTS)
    torch.testing.assert_close(found[0], wanted, atol=1e-4, rtol=1e-3)
    assert found.shape == (1, 64) and mine.distance(found, found).tolist() == [0]


def test_the_networks_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with torch.device("meta"):
        hopenet, shape = AngleNet(("fc_yaw", "fc_pitch", "fc_roll"), 66).state_dict(), CoefficientNet().state_dict()
    assert {"conv1.weight", "layer3.5.bn3.bias", "fc_roll.bias", "fc_finetune.weight"} <= hopenet.keys()
    assert hopenet["fc_finetune.weight"].shape == (3, 2051) and "fc.weight" not in hopenet
    assert {"backbone.layer3.5.conv3.weight", "final_layers.6.bias"} <= shape.keys()
    counts = [len(shape[f"final_layers.{k}.bias"]) for k in range(7)]
    assert counts == [80, 64, 80, 3, 27, 2, 1] and shape["final_layers.0.weight"].shape == (80, 2048, 1, 1)


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    net = AngleNet(("fc_yaw", "fc_pitch", "fc_roll"), 66)
    hopenet = written(net, tmp_path / "hopenet.pkl")
    for kind in (L2CSNet, Deep3DExpression):
        with raises(ForeignFile, path=hopenet):
            kind(hopenet)
        with pytest.raises(MissingFile):
            kind(tmp_path / "gone.pth")
    state = net.state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "short.pkl")
    with pytest.raises(UnfitTensors) as error:
        HopeNet(tmp_path / "short.pkl")
    assert error.value.missing == ["layer1.0.conv1.weight"]
