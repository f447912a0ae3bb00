"""Discriminators: what they return, what learns, what stays frozen, and where weights come from."""

from pathlib import Path

import pytest
import timm
import torch

from idn.errors import MissingFile, OptionError, UnfitTensors, UserError
from idn.training.discriminators import PatchDiscriminator, ProjectedDiscriminator, ThreeSizesDiscriminator
from idn.types import Verdict
from tests.raising import raises

BACKBONE = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the backbone as timm would publish it, with random numbers."""
    torch.manual_seed(3)
    net = timm.create_model(BACKBONE, pretrained=False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("backbone") / "backbone.pth"
    torch.save(net.state_dict(), path)
    return path


def images(n: int = 3, size: int = 64) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(n))


def flat(verdict: Verdict) -> list[torch.Tensor]:
    return [*verdict.logits, *(m for scale in verdict.features for m in scale)]


def make(kind: str, weights: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return PatchDiscriminator(2, 4, 3) if kind == "patch" else ProjectedDiscriminator(BACKBONE, weights, 8)


def test_a_patch_discriminator_looks_at_every_scale():
    verdict = PatchDiscriminator(scales=2, width=4, depth=3)(images())
    assert [tuple(x.shape) for x in verdict.logits] == [(3, 1, 8, 8), (3, 1, 4, 4)]
    assert [[tuple(m.shape[1:]) for m in scale] for scale in verdict.features] == [
        [(4, 32, 32), (8, 16, 16), (16, 8, 8)],
        [(4, 16, 16), (8, 8, 8), (16, 4, 4)],
    ]


def test_three_sizes_are_judged_by_three_networks_of_the_published_layers() -> None:
    torch.manual_seed(0)
    net, pictures = ThreeSizesDiscriminator(), images(2, 128)
    names = ("discriminator_256", "discriminator_128", "discriminator_64")
    assert [name for name, _ in net.named_children()] == list(names)
    for name in names:
        one = net.get_submodule(name)
        shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in (*one.layers, one.judge)]
        widths = [(3, 16), (16, 32), (32, 64), (64, 128), (128, 256), (256, 1)]
        strides = [2, 2, 2, 2, 1, 1]
        wanted = [(*both, (4, 4), (s, s), (2, 2)) for both, s in zip(widths, strides, strict=True)]
        assert shapes == wanted and [type(norm).__name__ for norm in one.norms] == ["Identity", *["BatchNorm2d"] * 4]
    verdict = net(pictures)
    assert [x.shape[-1] for x in verdict.logits] == [11, 7, 5] and [len(maps) for maps in verdict.features] == [5] * 3
    assert len({p.data_ptr() for p in net.parameters()}) == len(list(net.parameters())), "they share nothing"


def test_smaller_pictures_are_judged_where_they_are_made_and_photographs_are_resized() -> None:
    torch.manual_seed(0)
    net, pictures = ThreeSizesDiscriminator(4, 2).eval(), images(2, 64)
    resized = [
        torch.nn.functional.interpolate(pictures, [side, side], mode="bilinear", align_corners=True)
        for side in (32, 16)
    ]
    by_itself, told = net(pictures), net(pictures, resized)
    assert all(map(torch.allclose, by_itself.logits, told.logits))
    other = net(pictures, [torch.zeros_like(resized[0]), resized[1]])
    equal = [torch.allclose(a, b) for a, b in zip(by_itself.logits, other.logits, strict=True)]
    assert equal == [True, False, True]
    for argument, options in {"width": (0, 4), "depth": (16, 0)}.items():
        with raises(OptionError, argument=argument):
            ThreeSizesDiscriminator(*options)


def test_widths_stop_growing_at_eight_times_the_first():
    verdict = PatchDiscriminator(scales=1, width=2, depth=6)(images())
    assert [m.shape[1] for m in verdict.features[0]] == [2, 4, 8, 16, 16, 16]


def test_a_projected_discriminator_judges_four_levels_and_shows_what_the_backbone_saw(weights):
    net = make("projected", weights)
    verdict = net(images(2, 96))
    assert [tuple(x.shape) for x in verdict.logits] == [(2, 1, 3, 3), (2, 1, 3, 3), (2, 1, 3, 3), (2, 1, 1, 1)]
    (levels,) = verdict.features
    assert [tuple(m.shape[1:]) for m in levels] == [(8, 24, 24), (16, 12, 12), (24, 6, 6), (288, 3, 3)]


def test_the_backbone_is_the_one_in_the_file_with_its_own_normalisation(weights):
    net = make("projected", weights).train()
    published = timm.create_model(BACKBONE, pretrained=False).eval()
    published.load_state_dict(torch.load(weights, weights_only=True))
    mean, std = (torch.tensor(published.default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = published.forward_intermediates((images() - mean) / std, indices=[-4, -3, -2, -1])[1]
    for ours, theirs in zip(net(images()).features[0], expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["patch", "projected"])
def test_samples_are_judged_one_by_one(kind, weights):
    net = make(kind, weights).eval()
    together = flat(net(images()))
    alone = [flat(net(images()[k : k + 1])) for k in range(3)]
    for index, values in enumerate(together):
        torch.testing.assert_close(values, torch.cat([one[index] for one in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["patch", "projected"])
def test_gradients_reach_the_picture_and_every_parameter_that_learns(kind, weights):
    net = make(kind, weights).train()
    x = images().requires_grad_()
    sum(logits.sum() for logits in net(x).logits).backward()
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()
    learning = [p for p in net.parameters() if p.requires_grad]
    assert learning and all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning)


def test_only_the_heads_of_a_projected_discriminator_learn(weights):
    net = make("projected", weights).train()
    frozen = [*net.backbone.parameters(), *net.projections.parameters(), *net.mixings.parameters()]
    assert frozen and not any(p.requires_grad for p in frozen)
    before = {key: value.clone() for key, value in net.backbone.state_dict().items()}
    net(images())
    assert all(torch.equal(value, net.backbone.state_dict()[key]) for key, value in before.items())


def test_projections_travel_with_the_state(weights):
    first = make("projected", weights).eval()
    torch.manual_seed(99)
    second = ProjectedDiscriminator(BACKBONE, weights, 8).eval()
    assert not torch.equal(first(images()).logits[0], second(images()).logits[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images()).logits[0], second(images()).logits[0])


def test_no_convolution_of_a_patch_discriminator_amplifies():
    net = make("patch", Path()).train()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(50)
    for _ in range(20):
        net(images())
    for critic in net.eval().scales:
        for layer in (*critic.layers, critic.judge):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2) < 1.2


def test_a_backbone_that_cannot_be_had_is_an_error_that_names_the_way_out(monkeypatch):
    def offline(model: str, **options: object) -> None:
        assert options["pretrained"] is True
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with raises(OptionError, "no route", argument="backbone", value="tf_efficientnet_lite0"):
        ProjectedDiscriminator()


def test_files_of_other_networks_are_refused(tmp_path, weights):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with raises(UnfitTensors, "other.pth"):
        ProjectedDiscriminator(BACKBONE, tmp_path / "other.pth")
    tensors = torch.load(weights, weights_only=True)
    del tensors["conv_stem.weight"]
    torch.save(tensors, tmp_path / "cut.pth")
    with raises(UnfitTensors, "cut.pth", missing=["conv_stem.weight"]):
        ProjectedDiscriminator(BACKBONE, tmp_path / "cut.pth")
    with raises(MissingFile, path=tmp_path / "nowhere.pth"):
        ProjectedDiscriminator(BACKBONE, tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda w: PatchDiscriminator(scales=0), "scales"),
        (lambda w: PatchDiscriminator(width=0), "width"),
        (lambda w: PatchDiscriminator(depth=1.5), "depth"),
        (lambda w: ProjectedDiscriminator(BACKBONE, w, 0), "width"),
    ],
)
def test_impossible_options_are_refused(make, argument, weights):
    with raises(OptionError, argument=argument):
        make(weights)


@pytest.mark.parametrize(
    ("make", "size", "least"),
    [
        (lambda w: PatchDiscriminator(3, 4, 3), 16, "32 px"),
        (lambda w: ProjectedDiscriminator(BACKBONE, w, 8), 32, "64 px"),
    ],
)
def test_pictures_that_are_too_small_are_refused(make, size, least, weights):
    with raises(UserError, f"{size} px", least):
        make(weights)(images(1, size))
