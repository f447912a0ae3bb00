"""The maps of VGG-19: which ones, and in which order it sees the colours."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import UnfitTensors
from idn.images import IMAGENET_MEAN, IMAGENET_STD
from idn.losses.perceptual_features import VGG19Maps

CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
CONVOLUTIONS |= {16: (256, 256), 19: (256, 512), **{index: (512, 512) for index in (21, 23, 25, 28)}}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random ones of torchvision's layout, with layers behind the fifth map, which are left out."""
    g, made = torch.Generator().manual_seed(0), {}
    for index, (c_in, c_out) in CONVOLUTIONS.items():
        made[f"features.{index}.weight"] = torch.randn(c_out, c_in, 3, 3, generator=g) / (5 * c_in) ** 0.5
        made[f"features.{index}.bias"] = 0.1 * torch.randn(c_out, generator=g)
    return made | {"features.30.weight": torch.zeros(512, 512, 1, 1), "classifier.0.weight": torch.zeros(1, 1)}


def published(w: dict[str, Tensor], images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> list[Tensor]:
    """The first map of every size. images: (N, 3, S, S) in [0, 1]."""
    x = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    maps = []
    for index in CONVOLUTIONS:
        if index in (5, 10, 19, 28):
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, w[f"features.{index}.weight"], w[f"features.{index}.bias"], padding=1))
        if index in (0, 5, 10, 19, 28):
            maps.append(x)
    return maps


def test_five_maps_of_rgb_normalised_as_rgb(weights, tmp_path) -> None:
    torch.save(weights, tmp_path / "vgg19.pth")
    net, images = VGG19Maps(tmp_path / "vgg19.pth"), torch.rand(1, 3, 32, 32, requires_grad=True)
    maps = net(images, None)
    expected = published(weights, images, IMAGENET_MEAN, IMAGENET_STD)
    assert [level.shape[1:] for level in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    turned = published(weights, images.flip(1), IMAGENET_MEAN, IMAGENET_STD)  # what the published code computes
    assert (turned[0] - maps[0]).abs().max() > 0.1
    maps[-1].sum().backward()
    assert images.grad.abs().sum() > 0 and not any(p.requires_grad for p in net.parameters())


def test_a_file_that_lacks_a_layer_is_refused(weights, tmp_path) -> None:
    torch.save({key: value for key, value in weights.items() if key != "features.28.bias"}, tmp_path / "cut.pth")
    with pytest.raises(UnfitTensors) as raised:
        VGG19Maps(tmp_path / "cut.pth")
    assert raised.value.missing == ["features.28.bias"]
