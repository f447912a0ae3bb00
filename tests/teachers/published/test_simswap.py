import copy
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import EncoderMismatch, ForeignFile, MissingFile, OptionError, UnfitTensors
from idn.images import IMAGENET_MEAN, IMAGENET_STD
from idn.types import IdentityFeatures, SwapBatch
from teachers.published import simswap
from teachers.published.simswap import ARCHITECTURES, SimSwapNet, SimSwapTeacher
from tests.raising import raises
from tests.teachers.conftest import GridRecogniser, swaps

TINY = {
    "plain": ARCHITECTURES["plain"]._replace(widths=(5, 6, 7, 8), blocks=2),
    "beta": ARCHITECTURES["beta"]._replace(widths=(4, 5, 6, 7, 8), blocks=2),
    "deep": ARCHITECTURES["deep"]._replace(widths=(5, 6, 7, 8, 8), blocks=2),
}
SIZES = {"plain": 224, "beta": 512, "deep": 512}


class Recogniser(GridRecogniser):
    name = "ArcFace IR-SE-101 (foamliu)"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def tiny(monkeypatch):
    """Published names and levels, a handful of channels."""
    for name, architecture in TINY.items():
        monkeypatch.setitem(ARCHITECTURES, name, architecture)


def network(architecture: simswap.Architecture) -> SimSwapNet:
    """Random weights and BatchNorm statistics, in eval mode."""
    net = SimSwapNet(architecture.widths, architecture.first, architecture.blocks)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.2, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
    return net.eval()


def save(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def inputs(n: int, size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, size, size), F.normalize(torch.randn(n, 512))


@pytest.mark.parametrize(
    ("name", "parameters", "keys"), [("plain", 55_051_779, 123), ("beta", 55_079_427, 137), ("deep", 59_773_443, 137)]
)
def test_published_sizes(name, parameters, keys):
    found = ARCHITECTURES[name]
    with torch.device("meta"):
        net = SimSwapNet(found.widths, found.first, found.blocks)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys


def test_published_names_and_shapes():
    shapes = {}
    for name, architecture in ARCHITECTURES.items():
        with torch.device("meta"):
            net = SimSwapNet(architecture.widths, architecture.first, architecture.blocks)
        shapes[name] = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    common = {
        "BottleNeck.0.conv1.1.weight": (512, 512, 3, 3),
        "BottleNeck.8.conv2.1.bias": (512,),
        "BottleNeck.3.style1.linear.weight": (1024, 512),
        "BottleNeck.3.style2.linear.bias": (1024,),
        "down1.0.weight": (128, 64, 3, 3),
        "down3.1.running_mean": (512,),
        "down2.1.num_batches_tracked": (),
        "up3.1.weight": (256, 512, 3, 3),
        "up1.2.running_var": (64,),
        "last_layer.1.bias": (3,),
    }
    for found in shapes.values():
        assert common.items() <= found.items()
    plain, beta, deep = (shapes[name] for name in ("plain", "beta", "deep"))
    assert plain["first_layer.1.weight"] == deep["first_layer.1.weight"] == (64, 3, 7, 7)
    assert beta["first_layer.1.weight"] == (32, 3, 7, 7)
    assert plain["last_layer.1.weight"] == deep["last_layer.1.weight"] == (3, 64, 7, 7)
    assert (beta["down0.0.weight"], beta["up0.1.weight"]) == ((64, 32, 3, 3), (32, 64, 3, 3))
    assert (deep["down4.0.weight"], deep["up4.1.weight"]) == ((512, 512, 3, 3), (512, 512, 3, 3))
    assert {key.split(".")[0] for key in plain} == {
        "first_layer", "down1", "down2", "down3", "BottleNeck", "up3", "up2", "up1", "last_layer",
    }  # fmt: skip


def literal(w: dict[str, Tensor], levels: list[int], blocks: int, x: Tensor, identity: Tensor) -> Tensor:
    """The generator once more, in functions only."""

    def batch_norm(y: Tensor, key: str) -> Tensor:
        mean, variance = w[f"{key}.running_mean"], w[f"{key}.running_var"]
        scale = w[f"{key}.weight"] / (variance + 1e-5).sqrt()
        return y * scale.view(1, -1, 1, 1) + (w[f"{key}.bias"] - mean * scale).view(1, -1, 1, 1)

    def reflected(y: Tensor, key: str, pad: int) -> Tensor:
        return F.conv2d(F.pad(y, (pad,) * 4, mode="reflect"), w[f"{key}.weight"], w[f"{key}.bias"])

    def styled(y: Tensor, key: str) -> Tensor:
        y = y - y.mean((2, 3), True)
        y = y / ((y * y).mean((2, 3), True) + 1e-8).sqrt()
        numbers = identity @ w[f"{key}.linear.weight"].T + w[f"{key}.linear.bias"]
        c = y.shape[1]
        return y * (numbers[:, :c, None, None] + 1) + numbers[:, c:, None, None]

    x = batch_norm(reflected(x, "first_layer.1", 3), "first_layer.2").relu()
    for i in levels:
        x = F.conv2d(x, w[f"down{i}.0.weight"], w[f"down{i}.0.bias"], stride=2, padding=1)
        x = batch_norm(x, f"down{i}.1").relu()
    for i in range(blocks):
        y = styled(reflected(x, f"BottleNeck.{i}.conv1.1", 1), f"BottleNeck.{i}.style1").relu()
        x = x + styled(reflected(y, f"BottleNeck.{i}.conv2.1", 1), f"BottleNeck.{i}.style2")
    for i in reversed(levels):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = batch_norm(F.conv2d(x, w[f"up{i}.1.weight"], w[f"up{i}.1.bias"], padding=1), f"up{i}.2").relu()
    return reflected(x, "last_layer.1", 3)


@torch.no_grad()
@pytest.mark.parametrize(("name", "levels"), [("plain", [1, 2, 3]), ("beta", [0, 1, 2, 3]), ("deep", [1, 2, 3, 4])])
def test_network_is_what_is_published_and_treats_every_sample_by_itself(name, levels):
    net = network(TINY[name])
    target, identity = inputs(3, 64)
    found = net(target, identity)
    wanted = literal(net.state_dict(), levels, 2, target, identity)
    assert found.shape == target.shape
    assert found.std() > 0.05
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    alone = torch.cat([net(target[i : i + 1], identity[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
    assert (net(target, identity.flip(0)) - found)[[0, 2]].abs().mean() > 1e-3


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda w: w.pop("down2.0.bias"), {"missing": ["down2.0.bias"]}),
        (lambda w: w.pop("BottleNeck.0.style1.linear.weight"), {"missing": ["BottleNeck.0.style1.linear.weight"]}),
        (lambda w: w.update({"up9.1.weight": torch.zeros(2)}), {"extra": ["up9.1.weight"]}),
        (lambda w: w.update({"up2.1.weight": torch.zeros(2)}), {"misshaped": ["up2.1.weight"]}),
        (
            lambda w: w.update({"first_layer.1.weight": torch.zeros(9, 3, 7, 7)}),
            {"misshaped": ["first_layer.1.weight"]},
        ),
    ],
)
def test_files_load_strictly(tiny, tmp_path, edit, found):
    weights = network(TINY["plain"]).state_dict()
    edit(weights)
    torch.save(weights, tmp_path / "net.pth")
    with raises(UnfitTensors, "net.pth", **found):
        SimSwapTeacher(tmp_path / "net.pth", "ffhq", "tanh01")


@pytest.mark.parametrize(
    ("declared", "held", "found", "wanted"),
    [
        ("plain", "beta", "SimSwap 512 beta", "SimSwap 224"),
        ("plain", "deep", "SimSwap 512 (Gdeep)", "SimSwap 224"),
        ("beta", "plain", "SimSwap 224", "SimSwap 512 beta"),
        ("deep", "beta", "SimSwap 512 beta", "SimSwap 512 (Gdeep)"),
    ],
)
def test_architecture_is_what_the_keys_say(tiny, tmp_path, declared, held, found, wanted):
    path = save(network(TINY[held]), tmp_path / "net.pth")
    with raises(ForeignFile, wanted, path=path, found=found):
        SimSwapTeacher(path, "ffhq", "tanh01", SIZES[declared], architecture=declared)


def test_other_files_are_named(tmp_path):
    torch.save({"generator.AADBlk1.x": torch.zeros(1)}, tmp_path / "ghost.pth")
    with raises(ForeignFile, "SimSwap 224", path=tmp_path / "ghost.pth", found="GHOST"):
        SimSwapTeacher(tmp_path / "ghost.pth", "ffhq", "tanh01")
    with raises(OptionError, "SimSwap 224", argument="weights", value=None):
        SimSwapTeacher(None, "ffhq", "tanh01")
    with raises(MissingFile, path=tmp_path / "absent.pth"):
        SimSwapTeacher(tmp_path / "absent.pth", "ffhq", "tanh01")


def test_the_variant_is_never_guessed(tiny, tmp_path):
    path = save(network(TINY["plain"]), tmp_path / "net.pth")
    for variant in (None, "tanh"):
        with pytest.raises(OptionError) as caught:
            SimSwapTeacher(path, "ffhq", variant)
        assert (caught.value.argument, caught.value.value) == ("variant", variant)
        assert all(word in str(caught.value) for word in ("tanh01", "imagenet_linear", "white stripes"))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"size": 512}, "size"),
        ({"size": 224, "architecture": "beta"}, "size"),
        ({"architecture": "224"}, "architecture"),
        ({"template": "face"}, "template"),
    ],
)
def test_impossible_options(tiny, tmp_path, options, argument):
    path = save(network(TINY["plain"]), tmp_path / "net.pth")
    with raises(OptionError, argument=argument):
        SimSwapTeacher(path, "ffhq", "tanh01", **options)


def test_records(tiny, tmp_path):
    paths = {name: save(network(found), tmp_path / f"{name}.pth") for name, found in TINY.items()}
    plain = SimSwapTeacher(paths["plain"], "ffhq", "tanh01", 256).record
    beta = SimSwapTeacher(paths["beta"], "ffhq", "tanh01", 512, architecture="beta").record
    deep = SimSwapTeacher(paths["deep"], "ffhq", "imagenet_linear", 512, Recogniser(), architecture="deep").record
    assert [(r.target.size, r.target.template) for r in (plain, beta, deep)] == [
        (256, "arcface_112_v1"), (512, "ffhq"), (512, "arcface_112_v1"),
    ]  # fmt: skip
    assert [(r.licence, r.commercial) for r in (plain, beta, deep)] == [
        ("CC-BY-NC-4.0", False), ("CC-BY-NC-4.0", False), ("unknown (community)", None),
    ]  # fmt: skip
    assert (plain.target.mean, plain.target.std, plain.output_mean, plain.output_std) == (
        (0, 0, 0), (1, 1, 1), (0.5,) * 3, (0.5,) * 3,
    )  # fmt: skip
    assert (deep.target.mean, deep.target.std) == (deep.output_mean, deep.output_std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert (plain.source.kind, deep.source.kind) == ("shared_embedding", "own_embedding")
    assert all(r.source.unit_length and r.source.dim == 512 and r.batchable for r in (plain, beta, deep))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("plain", "tanh01"),
        pytest.param("plain", "imagenet_linear", marks=pytest.mark.slow),
        pytest.param("beta", "tanh01", marks=pytest.mark.slow),
        ("deep", "imagenet_linear"),
    ],
)
def test_swaps_faces_in_the_students_crop_with_either_source(tiny, tmp_path, name, variant):
    path, encoder = save(network(TINY[name]), tmp_path / "net.pth"), Recogniser()
    options = {"variant": variant, "size": SIZES[name], "architecture": name}
    own, shared = SimSwapTeacher(path, "ffhq", encoder=encoder, **options), SimSwapTeacher(path, "ffhq", **options)
    shared.attach(None, encoder)
    batch = swaps(3)
    seen = encoder(batch.source)
    out = own(batch, seen._replace(embedding=torch.zeros(3, 8)))
    assert out.shape == batch.target.shape
    assert out.min() >= 0
    assert out.max() <= 1
    torch.testing.assert_close(out, shared(batch, seen))
    one = batch.take(slice(1, 2))
    torch.testing.assert_close(shared(one, encoder(one.source)), out[1:2], rtol=0, atol=1e-5)
    assert (own(batch._replace(source=batch.source.flip(0)), seen) - out).abs().max() > 1e-4
    with raises(EncoderMismatch, "ArcFace IR-SE-101", given="other"):
        shared.attach(None, type("Other", (Recogniser,), {"name": "other"})())


@torch.no_grad()
@pytest.mark.parametrize("variant", sorted(simswap.VARIANTS))
def test_numbers_in_and_out_are_those_of_the_variant(tiny, tmp_path, variant):
    net = network(TINY["plain"])
    teacher = SimSwapTeacher(save(net, tmp_path / "net.pth"), "arcface_112_v1", variant)
    batch = swaps(2, 224)
    identity = F.normalize(torch.randn(2, 512))
    found = teacher(batch, IdentityFeatures(identity, torch.zeros(2, 3, 7, 7)))
    if variant == "tanh01":
        wanted = (net(batch.target, identity).tanh() + 1) / 2
    else:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        wanted = net((batch.target - mean) / std, identity) * std + mean
    torch.testing.assert_close(found, wanted.clamp(0, 1), rtol=0, atol=1e-5)


def test_frozen(tiny, tmp_path):
    teacher = SimSwapTeacher(save(network(TINY["plain"]), tmp_path / "net.pth"), "ffhq", "tanh01", encoder=Recogniser())
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    before = copy.deepcopy(teacher.state_dict())
    batch = swaps(2)
    target = batch.target.clone().requires_grad_(True)
    assert not teacher(batch._replace(target=target), teacher.encoder(batch.source)).requires_grad
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@torch.no_grad()
def copier(variant: str) -> SimSwapNet:
    """Whatever the identity, it copies the target, smoothed by its way through an eighth of the size.

    Colours are shifted above zero, where ReLU changes nothing; halvings average 2 x 2 pixels; styles are switched off.
    A tanh is undone by its slope at the middle.
    """
    net = SimSwapNet((3, 3, 3, 3), 1, 2)
    for parameter in net.parameters():
        parameter.zero_()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.fill_(1)
    colours, shift = range(3), 3.0
    for block in net.BottleNeck:
        for style in (block.style1, block.style2):
            style.linear.bias[:3] = -1
    for conv, tap in [(net.first_layer[1], 3), (net.last_layer[1], 3)]:
        conv.weight[colours, colours, tap, tap] = 1
    net.first_layer[1].bias.fill_(shift)
    for level in (1, 2, 3):
        down, up = net.get_submodule(f"down{level}")[0], net.get_submodule(f"up{level}")[1]
        up.weight[colours, colours, 1, 1] = 1
        for colour in colours:
            down.weight[colour, colour, 1:, 1:] = 0.25
    net.last_layer[1].bias.fill_(-shift)
    if variant == "tanh01":
        net.last_layer[1].weight.mul_(2.4)
        net.last_layer[1].bias.fill_(-2.4 * (shift + 0.5))
    return net.eval()


@pytest.fixture
def copying(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "plain", ARCHITECTURES["plain"]._replace(widths=(3, 3, 3, 3), blocks=2))


@pytest.mark.parametrize("declared", sorted(simswap.VARIANTS))
@pytest.mark.parametrize("trained", sorted(simswap.VARIANTS))
def test_a_wrong_variant_is_noticed_once_and_changes_nothing(copying, tmp_path, trained, declared):
    path, encoder = save(copier(trained), tmp_path / "net.pth"), Recogniser()
    teacher, silent = (SimSwapTeacher(path, "ffhq", declared, encoder=encoder) for _ in range(2))
    silent.compared = True
    batch = swaps(6)
    errors = teacher.reconstruction(batch.source, encoder(batch.source).embedding)
    assert errors[trained] < 0.05
    assert min(value for name, value in errors.items() if name != trained) > 0.15
    calls = []
    teacher.net.register_forward_hook(lambda module, given, answer: calls.append(len(given[0])))
    flat = batch._replace(source=torch.full_like(batch.source, 0.5))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        teacher(flat, encoder(flat.source))
        assert calls == [6]
        first, second = teacher(batch, encoder(batch.source)), teacher(batch, encoder(batch.source))
    assert calls == [6, 4, 4, 6, 6]
    messages = [str(item.message) for item in caught]
    if trained == declared:
        assert messages == []
    else:
        assert len(messages) == 1
        assert f"set variant={trained}" in messages[0]
        assert all(
            f"{value:.3f}"[:-1] in messages[0] for value in teacher.reconstruction(*four(batch, encoder)).values()
        )
    expected = silent(batch, encoder(batch.source))
    torch.testing.assert_close(first, expected, rtol=0, atol=0)
    torch.testing.assert_close(second, expected, rtol=0, atol=0)


def four(batch: SwapBatch, encoder: Recogniser) -> tuple[Tensor, Tensor]:
    return batch.source[:4], encoder(batch.source[:4]).embedding


def test_a_generator_that_knows_nothing_is_not_accused(tiny, tmp_path, recwarn):
    encoder, batch = Recogniser(), swaps(4)
    for seed in range(4):
        torch.manual_seed(seed)
        path = save(network(TINY["plain"]), tmp_path / "net.pth")
        for variant in simswap.VARIANTS:
            teacher = SimSwapTeacher(path, "ffhq", variant, encoder=encoder)
            teacher(batch, encoder(batch.source))
            assert teacher.compared
    assert [str(item.message) for item in recwarn] == []


def test_it_teaches(tiny, tmp_path, make_module, make_data):
    net = network(TINY["plain"])
    nn.init.normal_(net.last_layer[1].weight, std=0.1)
    module = make_module()
    module.supervisor.teacher = SimSwapTeacher(save(net, tmp_path / "net.pth"), "ffhq", "tanh01", encoder=Recogniser())
    before = copy.deepcopy(module.supervisor.teacher.state_dict())
    batch = make_data().train[0]
    optimizer = torch.optim.Adam(module.network.parameters(), lr=5e-3)
    gaps = []
    for step in range(22):
        seen = module.observe(batch, module.network)
        total, _ = module.objective(seen.prediction, seen.supervision, seen.supervised.trust, step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        gaps.append((seen.prediction.image.detach() - seen.supervision.answer).abs().mean())
    assert (seen.supervision.answer - batch.target).abs().mean() > 0.05
    assert gaps[-1] < 0.7 * gaps[0]
    assert all(torch.equal(value, before[key]) for key, value in module.supervisor.teacher.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_full_size_runs(tmp_path, name):
    found = ARCHITECTURES[name]
    net = network(found)
    path = save(net, tmp_path / "net.pth")
    del net
    teacher = SimSwapTeacher(path, "ffhq", "tanh01", SIZES[name], Recogniser(), architecture=name)
    batch = swaps(2, 128)
    one = batch.take(slice(1))
    out = teacher(one, teacher.encoder(one.source))
    assert out.shape == (1, 3, 128, 128)
    assert 0 <= out.min() < out.max() <= 1
