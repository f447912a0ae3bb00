"""The networks are compared with a literal reading of the published description that shares no code with them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from teachers.published.ghost import GhostNet, PyramidEncoder, ResNetEncoder
from tests.raising import raises
from tests.teachers.published.literal_layers import leaky, norm, twice

DOWN, UP, WIDTHS, PLANES, DIM = (
    (2, 3, 4, 5, 6, 7, 5),
    (7, 6, 5, 4, 3, 2),
    (6, 5, 5, 7, 4, 5, 3, 4),
    (2, 3, 2, 1, 2, 1),
    8,
)
PUBLISHED = {
    ("unet", 1): (128_469_133, 223),
    ("unet", 2): (184_343_381, 311),
    ("unet", 3): (240_217_629, 399),
    ("linknet", 1): (112_748_685, 223),
    ("linknet", 2): (164_776_789, 311),
    ("linknet", 3): (216_804_893, 399),
    ("resnet", 1): (80_186_573, 409),
    ("resnet", 2): (136_060_821, 497),
    ("resnet", 3): (191_935_069, 585),
}
"""Parameters, and tensors in a state dict."""
GENERATOR = {
    "generator.up1.weight": (512, 1024, 2, 2),
    "generator.up1.bias": (1024,),
    "generator.AADBlk1.add_blocks.0.conv1.weight": (1024, 1024, 1, 1),
    "generator.AADBlk1.add_blocks.0.conv1.bias": (1024,),
    "generator.AADBlk1.add_blocks.0.conv2.weight": (1024, 1024, 1, 1),
    "generator.AADBlk1.add_blocks.0.fc1.weight": (1024, 512),
    "generator.AADBlk1.add_blocks.0.fc2.bias": (1024,),
    "generator.AADBlk1.add_blocks.0.conv_h.weight": (1, 1024, 1, 1),
    "generator.AADBlk1.add_blocks.0.conv_h.bias": (1,),
    "generator.AADBlk1.add_blocks.2.weight": (1024, 1024, 3, 3),
    "generator.AADBlk4.add_blocks.3.fc1.weight": (1024, 512),
    "generator.AADBlk4.add_blocks.5.weight": (512, 1024, 3, 3),
    "generator.AADBlk4.last_add_block.0.conv_h.bias": (1,),
    "generator.AADBlk4.last_add_block.2.weight": (512, 1024, 3, 3),
    "generator.AADBlk8.add_blocks.2.weight": (64, 64, 3, 3),
    "generator.AADBlk8.add_blocks.5.weight": (3, 64, 3, 3),
    "generator.AADBlk8.last_add_block.2.weight": (3, 64, 3, 3),
}
ENCODERS = {
    "unet": {
        "encoder.conv1.0.weight": (32, 3, 4, 4),
        "encoder.conv7.1.running_var": (1024,),
        "encoder.deconv1.deconv.weight": (1024, 1024, 4, 4),
        "encoder.deconv2.deconv.weight": (2048, 512, 4, 4),
        "encoder.deconv6.deconv.weight": (128, 32, 4, 4),
        "encoder.deconv6.bn.num_batches_tracked": (),
        "generator.AADBlk2.add_blocks.0.conv1.weight": (1024, 2048, 1, 1),
        "generator.AADBlk8.last_add_block.0.conv2.weight": (64, 64, 1, 1),
    },
    "linknet": {
        "encoder.conv6.0.weight": (1024, 512, 4, 4),
        "encoder.deconv2.deconv.weight": (1024, 512, 4, 4),
        "encoder.deconv6.deconv.weight": (64, 32, 4, 4),
        "generator.AADBlk2.add_blocks.0.conv1.weight": (1024, 1024, 1, 1),
        "generator.AADBlk8.add_blocks.0.conv2.weight": (64, 32, 1, 1),
    },
    "resnet": {
        "encoder.conv0.weight": (64, 3, 7, 7),
        "encoder.conv1.weight": (64, 64, 7, 7),
        "encoder.bn0.running_mean": (64,),
        "encoder.layer1.0.conv1.weight": (32, 64, 1, 1),
        "encoder.layer1.0.downsample.0.weight": (128, 64, 1, 1),
        "encoder.layer1.0.downsample.1.bias": (128,),
        "encoder.layer1.1.conv1.weight": (32, 128, 1, 1),
        "encoder.layer5.1.conv2.weight": (512, 512, 3, 3),
        "encoder.layer6.1.bn3.weight": (1024,),
        "generator.AADBlk2.add_blocks.0.conv1.weight": (1024, 2048, 1, 1),
    },
}


def published(kind: str, blocks: int) -> GhostNet:
    with torch.device("meta"):
        encoder = {"unet": PyramidEncoder, "linknet": lambda: PyramidEncoder(adds=True), "resnet": ResNetEncoder}[
            kind
        ]()
        return GhostNet(encoder, blocks=blocks)


def tiny(kind: str, blocks: int) -> GhostNet:
    down = DOWN if kind == "unet" else (*UP[::-1], 5)
    encoder = ResNetEncoder(3, PLANES) if kind == "resnet" else PyramidEncoder(down, UP, kind == "linknet")
    return GhostNet(encoder, WIDTHS, blocks, DIM)


def noise(shapes: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Random weights that keep the signal alive, statistics that are positive."""
    g = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, like in shapes.items():
        value = torch.randn(like.shape, generator=g)
        if name.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif name.endswith("running_var"):
            value = 0.5 + value.square()
        elif like.ndim > 1:
            value = value * (2 / like[0].numel()) ** 0.5
        else:
            value = (1.0 if "bn" in name and name.endswith("weight") else 0.0) + 0.2 * value
        tensors[name] = value
    return tensors


@pytest.mark.parametrize(("kind", "blocks"), PUBLISHED)
def test_published_sizes_names_and_shapes(kind, blocks):
    network = published(kind, blocks)
    state = network.state_dict()
    assert (sum(p.numel() for p in network.parameters()), len(state)) == PUBLISHED[kind, blocks]
    wanted = ENCODERS[kind] | (GENERATOR if blocks == 2 else {})
    assert {key: tuple(state[key].shape) for key in wanted} == wanted
    ends = [f"generator.AADBlk7.add_blocks.{3 * i + 2}.weight" in state for i in range(4)]
    assert ends == [True] * blocks + [False] * (4 - blocks)


def _pyramid_maps(x: Tensor, p: dict[str, Tensor], adds: bool) -> list[Tensor]:
    folded = []
    for i in range(1, 8):
        x = leaky(norm(F.conv2d(x, p[f"encoder.conv{i}.0.weight"], None, 2, 1), p, f"encoder.conv{i}.1"))
        folded.append(x)
    maps = [x]
    for i in range(1, 7):
        x = F.conv_transpose2d(x, p[f"encoder.deconv{i}.deconv.weight"], None, 2, 1)
        x = leaky(norm(x, p, f"encoder.deconv{i}.bn"))
        x = x + folded[6 - i] if adds else torch.cat([x, folded[6 - i]], 1)
        maps.append(x)
    return [*maps, twice(x)]


def _resnet_maps(x: Tensor, p: dict[str, Tensor]) -> list[Tensor]:
    x = norm(F.conv2d(x, p["encoder.conv0.weight"], None, 1, 3), p, "encoder.bn0").clamp_min(0)
    maps = [x]
    x = norm(F.conv2d(x, p["encoder.conv1.weight"], None, 2, 3), p, "encoder.bn1").clamp_min(0)
    maps.append(x)
    for stage in range(1, 7):
        for block in range(2):
            name = f"encoder.layer{stage}.{block}"
            y = F.conv2d(x, p[f"{name}.conv1.weight"], None, 1 if block else 2)
            y = F.conv2d(norm(y, p, f"{name}.bn1").clamp_min(0), p[f"{name}.conv2.weight"], None, 1, 1)
            y = F.conv2d(norm(y, p, f"{name}.bn2").clamp_min(0), p[f"{name}.conv3.weight"])
            if block == 0:
                x = norm(F.conv2d(x, p[f"{name}.downsample.0.weight"], None, 2), p, f"{name}.downsample.1")
            x = (norm(y, p, f"{name}.bn3") + x).clamp_min(0)
        maps.append(x)
    return maps[::-1]


def _aad(h: Tensor, a: Tensor, z: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    def conv(x: Tensor, key: str) -> Tensor:
        return F.conv2d(x, p[f"{name}.{key}.weight"], p[f"{name}.{key}.bias"])

    def linear(key: str) -> Tensor:
        return (z @ p[f"{name}.{key}.weight"].T + p[f"{name}.{key}.bias"])[:, :, None, None]

    h = (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    mask = 1 / (1 + (-conv(h, "conv_h")).exp())
    by_attributes = conv(a, "conv1") * h + conv(a, "conv2")
    by_identity = linear("fc1") * h + linear("fc2")
    return (1 - mask) * by_attributes + mask * by_identity


def literal(target: Tensor, z: Tensor, p: dict[str, Tensor], kind: str, blocks: int) -> Tensor:
    maps = _resnet_maps(target, p) if kind == "resnet" else _pyramid_maps(target, p, kind == "linknet")
    h = F.conv_transpose2d(z[:, :, None, None], p["generator.up1.weight"], p["generator.up1.bias"])
    for level in range(1, 9):
        name, x = f"generator.AADBlk{level}", h
        for i in range(0, 3 * blocks, 3):
            x = _aad(x, maps[level - 1], z, p, f"{name}.add_blocks.{i}").clamp_min(0)
            x = F.conv2d(x, p[f"{name}.add_blocks.{i + 2}.weight"], None, 1, 1)
        if f"{name}.last_add_block.2.weight" in p:
            h = _aad(h, maps[level - 1], z, p, f"{name}.last_add_block.0").clamp_min(0)
            h = F.conv2d(h, p[f"{name}.last_add_block.2.weight"], None, 1, 1)
        h = x + h
        h = twice(h) if level < 8 else h
    return h.tanh()


@pytest.mark.parametrize(("kind", "blocks"), [("unet", 1), ("unet", 2), ("unet", 3), ("linknet", 2), ("resnet", 1)])
def test_network_computes_what_was_published(kind, blocks):
    network = tiny(kind, blocks).eval()
    network.load_state_dict(noise(network.state_dict()))
    network.double()
    assert len([key for key in network.state_dict() if ".last_add_block.2." in key]) == 7
    g = torch.Generator().manual_seed(2)
    target = torch.rand(2, 3, 256, 256, generator=g, dtype=torch.float64) * 2 - 1
    identity = 3 * torch.randn(2, DIM, generator=g, dtype=torch.float64)
    with torch.no_grad():
        found = network(target, identity)
        expected = literal(target, identity, network.state_dict(), kind, blocks)
        maps = network.encoder(target)
    assert [(m.shape[1], m.shape[2]) for m in maps] == [
        (c, size) for c, size in zip(network.encoder.channels, (2, 4, 8, 16, 32, 64, 128, 256), strict=True)
    ]
    assert expected.std() > 0.05
    assert (expected[0] - expected[1]).abs().mean() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_a_batch_is_as_many_single_faces():
    network = tiny("unet", 2).eval()
    network.load_state_dict(noise(network.state_dict()))
    network.double()
    g = torch.Generator().manual_seed(2)
    target = torch.rand(3, 3, 256, 256, generator=g, dtype=torch.float64) * 2 - 1
    identity = 3 * torch.randn(3, DIM, generator=g, dtype=torch.float64)
    with torch.no_grad():
        together = network(target, identity)
        alone = torch.cat([network(target[i : i + 1], identity[i : i + 1]) for i in range(3)])
    assert together.shape == (3, 3, 256, 256)
    assert together.abs().max() <= 1
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-8)


def test_wrong_shapes_are_program_errors():
    network = tiny("unet", 1)
    for target, identity in (((2, 3, 224, 224), (2, DIM)), ((2, 3, 256, 256), (1, DIM)), ((2, 3, 256, 256), (2, 5))):
        with raises(ValueError, "target and identity"):
            network(torch.zeros(target), torch.zeros(identity))
