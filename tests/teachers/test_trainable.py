"""Swappers that learn here: the published networks, their sizes, and the file that they become."""

import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from idn.errors import OptionError, UserError
from idn.files.tensors import read_metadata, read_tensors
from idn.images import IMAGENET_MEAN, IMAGENET_STD
from teachers.published.ghost import GhostNet, PyramidEncoder, network_for
from teachers.published.simswap import ARCHITECTURES, SimSwapNet
from teachers.trainable import GhostSwapper, SimSwapSwapper, rebuild
from tests.raising import raises

SMALL = {
    "simswap": lambda: SimSwapSwapper(width=4, halvings=2, blocks=1, dim=8),
    "simswap linear": lambda: SimSwapSwapper(width=4, halvings=2, blocks=1, dim=8, variant="imagenet_linear"),
    "ghost": lambda: GhostSwapper(width=4, halvings=4, blocks=1, dim=8, size=32),
    "ghost 48": lambda: GhostSwapper(width=4, halvings=4, blocks=2, dim=8, size=48),
}


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[name]()


def faces(n: int = 2, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, size, size, generator=g), nn.functional.normalize(torch.randn(n, 8, generator=g))


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def test_by_default_they_are_the_published_networks():
    published = ARCHITECTURES["plain"]
    with torch.device("meta"):
        simswap = SimSwapNet(published.widths, published.first, published.blocks, 512)
        ghost = GhostNet(PyramidEncoder(), blocks=2)
        assert shapes(SimSwapSwapper().net) == shapes(simswap)
        assert shapes(GhostSwapper().net) == shapes(ghost)
        assert sum(p.numel() for p in SimSwapSwapper().parameters()) == 55_051_779
        assert sum(p.numel() for p in GhostSwapper().parameters()) == 184_343_381


@pytest.mark.parametrize("name", SMALL)
def test_pictures_come_out_as_they_went_in(name):
    swapper = small(name)
    target, embedding = faces(size=48 if name == "ghost 48" else 32)
    image = swapper.swap(target, embedding)[0]
    assert image.shape == target.shape and image.dtype == torch.float32
    if name != "simswap linear":
        assert ((image >= 0) & (image <= 1)).all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_tanh_bounds_whatever_the_weights(scale):
    swapper = small("simswap")
    with torch.no_grad():
        swapper.net.last_layer[1].weight.mul_(scale)
    image = swapper.swap(*faces())[0]
    assert ((image >= 0) & (image <= 1)).all()


def test_each_variant_reads_and_writes_its_own_numbers():
    target, embedding = faces()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    bounded, linear = small("simswap").eval(), small("simswap linear").eval()
    torch.testing.assert_close(bounded.swap(target, embedding)[0], (bounded.net(target, embedding).tanh() + 1) / 2)
    torch.testing.assert_close(
        linear.swap(target, embedding)[0], linear.net((target - mean) / std, embedding) * std + mean
    )


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient_and_the_identity_matters(name):
    swapper = small(name)
    target, embedding = faces(size=48 if name == "ghost 48" else 32)
    other = embedding.flip(0)
    (swapper.swap(target, embedding)[0] - target).square().sum().backward()
    assert [key for key, p in swapper.named_parameters() if p.grad is None] == []
    swapper.eval()
    assert not torch.allclose(swapper.swap(target, embedding)[0], swapper.swap(target, other)[0], atol=1e-4)


def test_attributes_are_the_maps_of_an_aei_net_and_nothing_for_simswap():
    target, _ = faces()
    maps = small("ghost").attributes(target)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 2, 2), (16, 4, 4), (8, 8, 8), (4, 16, 16), (4, 32, 32)]
    assert all(fine.shape[-1] == 2 * coarse.shape[-1] for coarse, fine in pairwise(maps))
    assert small("simswap").attributes(target) == ()


@pytest.mark.parametrize("name", SMALL)
def test_groups_hold_every_parameter_once_and_identity_what_reads_the_embedding(name):
    swapper = small(name)
    groups = swapper.parameter_groups()
    names = {id(p): key for key, p in swapper.net.named_parameters()}
    assert sorted(names[id(p)] for group in groups.values() for p in group) == sorted(names.values())
    reading = [key for key in names.values() if any(part in key for part in ("linear", "fc", "up1.w", "up1.b"))]
    assert sorted(names[id(p)] for p in groups["identity"]) == sorted(reading)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_says_how_to_build_it_again(name, tmp_path):
    swapper = small(name).eval()
    swapper.save(tmp_path / "x.safetensors", {"licence": "CC0"})
    notes = read_metadata(tmp_path / "x.safetensors")
    assert notes["licence"] == "CC0" and json.loads(notes["config"]) == swapper.config
    again = rebuild(notes["family"], notes["config"])
    again.net.load_state_dict(read_tensors(tmp_path / "x.safetensors"))
    inputs = faces(size=48 if name == "ghost 48" else 32)
    assert torch.equal(again.eval().swap(*inputs)[0], swapper.swap(*inputs)[0])


def test_a_ghost_of_published_depth_has_a_published_file(tmp_path):
    torch.manual_seed(0)
    swapper = GhostSwapper(width=2, halvings=7, blocks=1, dim=8, size=256).eval()
    swapper.save(tmp_path / "x.safetensors", {})
    tensors = read_tensors(tmp_path / "x.safetensors")
    read = network_for(tensors, "x").eval()
    read.load_state_dict(tensors)
    target, embedding = faces(1, 256)
    torch.testing.assert_close((read(target * 2 - 1, embedding) + 1) / 2, swapper.swap(target, embedding)[0])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: SimSwapSwapper(width=0), "width"),
        (lambda: SimSwapSwapper(4, 2, 1, 8, "tanh"), "variant"),
        (lambda: small("simswap").check_size(30), "halvings"),
        (lambda: small("simswap").check_size(4), "halvings"),
        (lambda: GhostSwapper(16, 5, 1, 8, 80), "size"),
        (lambda: GhostSwapper(16, 5, 1, 8, 32), "size"),
        (lambda: GhostSwapper(16, 1, 1, 8, 32), "size"),
        (lambda: small("ghost").check_size(64), "size"),
    ],
)
def test_arguments_that_cannot_be_are_named(make, argument):
    with raises(OptionError, argument=argument):
        make()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: rebuild("facade", "{}"), "facade"),
        (lambda: rebuild("simswap", '{"depth": 3}'), "depth"),
        (lambda: rebuild("simswap", "no json"), "no json"),
    ],
)
def test_what_cannot_be_gets_one_sentence(make, named):
    with raises(UserError, named):
        make()


@pytest.mark.parametrize("name", ["simswap", "ghost"])
def test_pictures_of_another_size_are_a_mistake_of_the_program(name):
    target, embedding = faces(2, 42)
    with raises(ValueError, "42 px"):
        small(name).swap(target, embedding)
