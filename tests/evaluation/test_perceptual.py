"""LPIPS and Inception v3 by files that torchvision's own networks wrote, against torchmetrics and torchvision."""

import math
from pathlib import Path

import pytest
import torch
import torchvision
from torchmetrics.functional.image import lpips as reference

from idn.errors import ForeignFile, MissingFile, UnfitTensors
from idn.evaluation.perceptual import Inception, Lpips, _backbone, _renamed

SIZE = 64


def picture(seed: int, count: int = 2) -> torch.Tensor:
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


def test_it_is_the_lpips_of_torchmetrics_with_the_weights_of_the_file(squeeze: Path) -> None:
    mine = Lpips(squeeze)
    theirs = reference._LPIPS(net="squeeze", pnet_rand=True)
    backbone = torchvision.models.squeezenet1_1(weights=None)
    backbone.load_state_dict(torch.load(squeeze, weights_only=True))
    place = 0
    for part in theirs.net.slices:
        for name in list(part._modules):
            part._modules[name], place = backbone.features[place].eval(), place + 1
    a, b = picture(0), picture(1)
    everywhere = torch.ones(2, 1, SIZE, SIZE)
    with torch.no_grad():
        whole = theirs(a, b, normalize=True).flatten()
        theirs.spatial = True
        spread = theirs(a, b, normalize=True).mean((1, 2, 3))
    torch.testing.assert_close(mine(a, b, everywhere), spread)
    torch.testing.assert_close(mine(a, b, everywhere), whole, rtol=0.05, atol=0)
    assert mine(a, a, everywhere).tolist() == [0, 0]
    assert mine.facts["published_weights"] is False and mine.facts["name"] == "LPIPS squeeze"


def test_what_lies_outside_of_the_region_is_not_felt(squeeze: Path) -> None:
    net, a, b = Lpips(squeeze), picture(0), picture(1)
    left = torch.zeros(2, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1
    half = torch.where(left > 0, b, a)
    assert net(half, b, left).tolist() == [0, 0] and (net(half, b, 1 - left) > 0.01).all()
    torch.testing.assert_close(net(a, b, 1 - left), net(half, b, 1 - left))
    left[1] = 0
    assert net(a, b, left).isnan().tolist() == [False, True]


@pytest.mark.parametrize("name", ["vgg", "alex", "squeeze"])
def test_every_backbone_is_known_by_its_tensors_and_all_of_them_find_their_place(name: str) -> None:
    build = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}[name]
    with torch.device("meta"):
        tensors = {f"features.{k}": v for k, v in getattr(torchvision.models, build)().features.state_dict().items()}
        net = {"vgg": reference.Vgg16, "alex": reference.Alexnet, "squeeze": reference.SqueezeNet}[name]
        expected = net(pretrained=False).state_dict()
    assert _backbone(tensors, "file") == name
    renamed = _renamed(tensors, net(pretrained=False) if name == "squeeze" else _Keys(expected))
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in expected.items()}


class _Keys(torch.nn.Module):
    """Only names: networks of 500 MB take their time."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._state = state

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._state


def test_files_of_other_networks_are_refused(tmp_path: Path, squeeze: Path) -> None:
    tensors = torch.load(squeeze, weights_only=True)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for kind in (Lpips, Inception):
        with pytest.raises((ForeignFile, UnfitTensors)):
            kind(tmp_path / "other.pth")
        with pytest.raises(MissingFile):
            kind(tmp_path / "gone.pth")
    del tensors["features.3.squeeze.bias"]
    torch.save(tensors, tmp_path / "short.pth")
    with pytest.raises(UnfitTensors) as error:
        Lpips(tmp_path / "short.pth")
    assert error.value.missing == ["slices.1.3.squeeze.bias"]


@pytest.mark.slow
def test_inception_gives_what_torchvisions_gives_before_its_classifier(tmp_path: Path) -> None:
    """torchvision wants pictures normalised by ImageNet's numbers, and turns those into the [-1, 1] that we give."""
    torch.manual_seed(0)
    net = torchvision.models.inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    torch.save(net.state_dict(), tmp_path / "inception.pth")
    seen = []
    net.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(1)))
    images = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net(
            (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        )
    found = Inception(tmp_path / "inception.pth")(images)
    torch.testing.assert_close(found, seen[0], rtol=1e-3, atol=1e-4)
    assert found.shape == (1, Inception.dim) and not math.isnan(float(found.sum()))
