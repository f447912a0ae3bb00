"""MobileFaceNet-512 with random weights of the file's layout, against its layers written down a second time."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.encoders.mobilefacenet_512 import MobileFaceNet512Encoder
from idn.errors import OptionError, UnfitTensors
from tests.raising import raises

NORM = ("running_mean", "running_var", "weight", "bias")


def published_weights() -> dict[str, Tensor]:
    """Random tensors under the names and in the shapes of RGB_model_mobilefacenet.pth."""
    generator, weights = torch.Generator().manual_seed(0), {}

    def norm(name: str, c: int) -> None:
        weights[f"{name}.weight"] = 0.5 + torch.rand(c, generator=generator)
        weights[f"{name}.bias"] = 0.2 * torch.randn(c, generator=generator)
        weights[f"{name}.running_mean"] = 0.2 * torch.randn(c, generator=generator)
        weights[f"{name}.running_var"] = 0.5 + torch.rand(c, generator=generator)
        weights[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def block(name: str, c_in: int, c_out: int, k: int, groups: int = 1, prelu: bool = True) -> None:
        fan = c_in // groups * k * k
        weights[f"{name}.conv.weight"] = torch.randn(c_out, c_in // groups, k, k, generator=generator) / fan**0.5
        norm(f"{name}.bn", c_out)
        if prelu:
            weights[f"{name}.prelu.weight"] = 0.5 * torch.rand(c_out, generator=generator)

    def depthwise(name: str, c_in: int, c_out: int, groups: int) -> None:
        block(f"{name}.conv", c_in, groups, 1)
        block(f"{name}.conv_dw", groups, groups, 3, groups)
        block(f"{name}.project", groups, c_out, 1, prelu=False)

    block("conv1", 3, 64, 3)
    block("conv2_dw", 64, 64, 3, 64)
    for name, c_in, c_out, groups in (("conv_23", 64, 64, 128), ("conv_34", 64, 128, 256), ("conv_45", 128, 128, 512)):
        depthwise(name, c_in, c_out, groups)
    for name, count, c, groups in (("conv_3", 4, 64, 128), ("conv_4", 6, 128, 256), ("conv_5", 2, 128, 256)):
        for index in range(count):
            depthwise(f"{name}.model.{index}", c, c, groups)
    block("conv_6_sep", 128, 512, 1)
    block("conv_6_dw", 512, 512, 7, 512, prelu=False)
    weights["linear.weight"] = torch.randn(512, 512, generator=generator) / 22
    norm("bn", 512)
    return weights


def published_embedding(w: dict[str, Tensor], crops: Tensor) -> Tensor:
    """crops: (N, 3, 112, 112) in [-1, 1]."""

    def block(name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        x = norm(f"{name}.bn", F.conv2d(x, w[f"{name}.conv.weight"], None, stride, padding, 1, groups))
        slope = w.get(f"{name}.prelu.weight")
        return x if slope is None else torch.where(x > 0, x, slope[None, :, None, None] * x)

    def norm(name: str, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, var, gain, bias = (
            w[f"{name}.{k}"].view(shape) for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias

    def depthwise(name: str, x: Tensor, stride: int) -> Tensor:
        x = block(f"{name}.conv", x)
        return block(f"{name}.project", block(f"{name}.conv_dw", x, stride, 1, x.shape[1]))

    x = block("conv2_dw", block("conv1", crops, 2, 1), 1, 1, 64)
    for halving, stage, count in (("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2)):
        x = depthwise(halving, x, 2)
        for index in range(count):
            x = x + depthwise(f"{stage}.model.{index}", x, 1)
    x = block("conv_6_dw", block("conv_6_sep", x), groups=512).flatten(1)
    x = norm("bn", x @ w["linear.weight"].T)
    return x / x.norm(dim=1, keepdim=True)


def test_it_reads_the_file_and_sees_the_published_crop_in_rgb(tmp_path):
    weights = published_weights()
    torch.save(weights, tmp_path / "RGB_model_mobilefacenet.pth")
    encoder = MobileFaceNet512Encoder(tmp_path / "RGB_model_mobilefacenet.pth", "mobilefsgan")
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    crops = F.interpolate(images[:, :, 26:230, 26:230], [112, 112], mode="bilinear", align_corners=True)
    seen, expected = encoder(images), published_embedding(weights, crops * 2 - 1)
    torch.testing.assert_close(seen.embedding, expected, atol=2e-5, rtol=0)
    assert seen.features.shape == (2, 512, 7, 7) and [m.shape[-1] for m in seen.shallow] == [56, 28, 14]
    assert (expected[0] @ expected[1]).abs() < 0.999
    swapped = published_embedding(weights, crops.flip(1) * 2 - 1)
    assert (swapped - expected).abs().max() > 1e-3, "the order of colours is told apart"


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    weights = published_weights()
    del weights["conv_4.model.5.project.bn.bias"]
    torch.save(weights, tmp_path / "cut.pth")
    with raises(UnfitTensors, missing=["conv_4.model.5.project.bn.bias"]):
        MobileFaceNet512Encoder(tmp_path / "cut.pth", "ffhq")


@pytest.mark.parametrize(("argument", "options"), [("weights", (None, "ffhq")), ("crop_template", ("x.pth", "dlib"))])
def test_it_needs_its_file_and_a_known_template(argument, options):
    with raises(OptionError, argument=argument):
        MobileFaceNet512Encoder(*options)
