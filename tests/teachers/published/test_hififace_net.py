"""The generator is compared with a literal reading of the published description that shares no code with it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachers.published.hififace_net import HifiFaceNet
from tests.raising import raises

WIDTH, SMALL = 8, 64
KEYS = {
    "encoder.conv_first.weight": (64, 3, 3, 3),
    "encoder.block_list.0.main_path.2.weight": (128, 64, 3, 3),
    "encoder.block_list.0.main_path.6.weight": (128, 128, 3, 3),
    "encoder.block_list.0.side_path.0.bias": (128,),
    "encoder.block_list.4.main_path.6.bias": (512,),
    "encoder.block_list.5.main_path.5.weight": (512, 512, 3, 3),
    "encoder.block_list.6.side_path.0.weight": (512, 512, 1, 1),
    "decoder.block_list.0.adain1.std_style_fc.weight": (512, 769),
    "decoder.block_list.4.adain2.mean_style_fc.weight": (256, 769),
    "decoder.block_list.4.main_path1.1.weight": (256, 512, 3, 3),
    "decoder.block_list.4.main_path2.1.weight": (256, 256, 3, 3),
    "decoder.block_list.4.side_path.0.weight": (256, 512, 1, 1),
    "sff_module.sigma.main_path.5.weight": (256, 256, 3, 3),
    "sff_module.low_mask_predict.main_path.2.weight": (1, 256, 3, 3),
    "sff_module.low_mask_predict.main_path.5.weight": (1, 1, 3, 3),
    "sff_module.z_fuse_block.adain1.std_style_fc.bias": (256,),
    "sff_module.z_fuse_block.adain2.std_style_fc.weight": (259, 769),
    "sff_module.z_fuse_block.main_path2.1.weight": (259, 259, 3, 3),
    "sff_module.f_up.net.0.main_path.2.weight": (64, 256, 3, 3),
    "sff_module.f_up.net.1.main_path.6.weight": (16, 16, 3, 3),
    "sff_module.f_up.net.3.main_path.5.weight": (4, 4, 3, 3),
    "sff_module.f_up.net.3.side_path.0.weight": (4, 8, 1, 1),
}


def random_state(net: nn.Module) -> dict[str, Tensor]:
    """Random weights of a magnitude that keeps every layer alive and many pixels inside [0, 1]."""
    g = torch.Generator().manual_seed(0)
    out = {}
    for name, value in net.state_dict().items():
        noise = torch.randn(value.shape, generator=g)
        last = 0.3 if "f_up.net.3" in name else 1.0
        out[name] = noise * (last * value[0].numel() ** -0.5 if value.ndim > 1 else 0.1)
    return out


def inputs(n: int, size: int = SMALL) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, size, size, generator=g), torch.randn(n, 769, generator=g)


def loaded(net: nn.Module) -> nn.Module:
    net.load_state_dict(random_state(net), strict=True)
    return net.eval()


def test_size_and_keys_are_the_published_ones():
    with torch.device("meta"):
        net = HifiFaceNet()
    assert sum(p.numel() for p in net.parameters()) == 57_596_438
    state = net.state_dict()
    assert {key: tuple(state[key].shape) for key in KEYS} == KEYS
    assert len(state) == 164


def _norm(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / (x.square().mean((2, 3), keepdim=True) - mean.square() + 1e-5).sqrt()


def _leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)


def _conv(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=p[f"{name}.weight"].shape[-1] // 2)


def _half(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def _twice(x: Tensor) -> Tensor:
    """Bilinear, samples at quarter positions: 3/4 of the nearest row and 1/4 of the next, edges repeated."""
    for dim in (2, 3):
        n = x.shape[dim]
        before = x.index_select(dim, torch.arange(n).sub(1).clamp_min(0))
        after = x.index_select(dim, torch.arange(n).add(1).clamp_max(n - 1))
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim + 1).flatten(dim, dim + 1)
    return x


def _same(x: Tensor) -> Tensor:
    return x


def _res_block(x, p, name, resize=_same):
    second = 5 if resize is _same else 6
    y = resize(_conv(_leaky(_norm(x)), p, f"{name}.main_path.2"))
    y = _conv(_leaky(_norm(y)), p, f"{name}.main_path.{second}")
    return y + resize(_conv(x, p, f"{name}.side_path.0"))


def _adain(x, v, p, name):
    std, mean = (
        v @ p[f"{name}.{part}_style_fc.weight"].T + p[f"{name}.{part}_style_fc.bias"] for part in ("std", "mean")
    )
    return std[:, :, None, None] * _norm(x) + mean[:, :, None, None]


def _adain_block(x, v, p, name, resize=_same):
    y = resize(_conv(_leaky(_adain(x, v, p, f"{name}.adain1")), p, f"{name}.main_path1.1"))
    y = _conv(_leaky(_adain(y, v, p, f"{name}.adain2")), p, f"{name}.main_path2.1")
    return y + resize(_conv(x, p, f"{name}.side_path.0"))


def _reference(target: Tensor, v: Tensor, p: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    x = _conv(target, p, "encoder.conv_first")
    for i in range(7):
        x = _res_block(x, p, f"encoder.block_list.{i}", _half if i < 5 else _same)
        if i == 1:
            skip = x
    for i in range(5):
        x = _adain_block(x, v, p, f"decoder.block_list.{i}", _twice if i >= 2 else _same)
    sff = "sff_module"
    low = _res_block(x, p, f"{sff}.low_mask_predict").tanh()
    z = low * x + (1 - low) * _res_block(skip, p, f"{sff}.sigma")
    z = _adain_block(z, v, p, f"{sff}.z_fuse_block")[:, 3:]
    for i in range(4):
        z = _res_block(z, p, f"{sff}.f_up.net.{i}", _twice if i < 2 else _same)
    mask = z[:, :1].tanh()
    return (mask * z[:, 1:] + (1 - mask) * target).clamp(0, 1), mask


def test_the_generator_computes_what_the_description_says():
    net = loaded(HifiFaceNet(WIDTH)).double()
    target, vector = (x.double() for x in inputs(2))
    with torch.no_grad():
        image, mask = net(target, vector)
        expected, expected_mask = _reference(target, vector, net.state_dict())
    torch.testing.assert_close(mask, expected_mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
    assert mask.min() < -0.1 and mask.max() > 0.1, "a tanh mask takes both signs"
    inside = (image > 0) & (image < 1)
    assert 0.1 < inside.float().mean() < 1, "the test must see clamped and free pixels"


def test_samples_do_not_influence_one_another():
    net = loaded(HifiFaceNet(WIDTH))
    target, vector = inputs(3)
    with torch.no_grad():
        together = net(target, vector)[0]
        alone = torch.cat([net(target[i : i + 1], vector[i : i + 1])[0] for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert (together[0] - together[1]).abs().mean() > 0.01


def test_wrong_shapes_are_refused():
    with torch.device("meta"):
        net = HifiFaceNet(WIDTH)
        for target, vector, named in (
            ((2, 3, 80, 80), (2, 769), ["target"]),
            ((2, 3, 64, 96), (2, 769), ["target"]),
            ((2, 3, 32, 32), (2, 769), ["target"]),
            ((2, 3, 64, 64), (2, 512), ["vector", "(2, 769)", "(2, 512)"]),
            ((2, 3, 64, 64), (1, 769), ["vector", "(2, 769)", "(1, 769)"]),
        ):
            with raises(ValueError, *named):
                net(torch.zeros(target), torch.zeros(vector))


@pytest.mark.slow
def test_full_size():
    net = loaded(HifiFaceNet())
    target, vector = inputs(1, 256)
    with torch.no_grad():
        image, mask = net(target, vector)
        expected, expected_mask = _reference(target, vector, net.state_dict())
    torch.testing.assert_close(mask, expected_mask, atol=1e-3, rtol=0)
    torch.testing.assert_close(image, expected, atol=1e-3, rtol=0)
