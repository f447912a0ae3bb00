"""The adapter on procedural faces; its shape network is compared with a literal reading of the description."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from idn.cli import conf_dir
from idn.errors import EncoderMismatch, ForeignFile, OptionError, UnfitTensors, UserError
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch
from teachers.published.hififace import Deep3DNet, Deep3DShape, HifiFaceTeacher, generator_tensors
from teachers.published.hififace_net import HifiFaceNet
from teachers.weight_files import recognise
from tests.raising import raises
from tests.teachers.conftest import strangers

WIDTH = 8
SHAPE_KEYS = {
    "backbone.conv1.weight": (64, 3, 7, 7),
    "backbone.layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "backbone.layer3.5.conv2.weight": (256, 256, 3, 3),
    "backbone.layer4.2.bn3.running_var": (2048,),
    "final_layers.0.weight": (80, 2048, 1, 1),
    "final_layers.1.bias": (64,),
    "final_layers.4.weight": (27, 2048, 1, 1),
    "final_layers.6.bias": (1,),
}


def random_state(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a magnitude that keeps every layer alive."""
    g = torch.Generator().manual_seed(seed)
    out = {}
    for name, value in net.state_dict().items():
        noise = torch.randn(value.shape, generator=g)
        if name.endswith("num_batches_tracked"):
            out[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            out[name] = 0.5 + torch.rand(value.shape, generator=g)
        elif value.ndim > 1:
            out[name] = noise * (0.3 if "f_up.net.3" in name else 1.0) * value[0].numel() ** -0.5
        elif "bn" in name or "downsample.1" in name:
            out[name] = (0.5 if name.endswith("weight") else 0.0) + 0.1 * noise
        else:
            out[name] = 0.1 * noise
    return out


def checkpoint(seed: int = 0, shape: bool = False) -> dict[str, Tensor]:
    """What the training of a narrow HifiFace saves."""
    out = {f"generator.{key}": value for key, value in random_state(HifiFaceNet(WIDTH), seed).items()}
    if shape:
        out |= {f"generator.id_extractor.f_3d.{k}": v for k, v in random_state(Deep3DNet(), seed).items()}
    out |= {"generator.id_extractor.f_id.fc.bias": torch.ones(512), "g_loss.f_3d.backbone.bn1.bias": torch.ones(64)}
    return out | {"discriminator.discriminator_0.model0.0.bias": torch.ones(64)}


def save(path, tensors: dict[str, Tensor]):
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    return path


class TinyShape(Frozen):
    """Random coefficients; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 257, 16, 16)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.conv(images).mean((2, 3))


class TinyRecogniser(Frozen):
    name, licence, embedding_dim, feature_channels, feature_size = "ms1mv3_r100", "Apache-2.0", 512, 3, 4

    def __init__(self, name: str = "ms1mv3_r100") -> None:
        super().__init__()
        self.name = name
        self.conv = nn.Conv2d(3, 512, 16, 16)
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        return IdentityFeatures(F.normalize(self.conv(images).mean((2, 3))), F.adaptive_avg_pool2d(images, 4))


def seen(batch: SwapBatch) -> IdentityFeatures:
    return IdentityFeatures(torch.zeros(len(batch.source), 8), torch.zeros(len(batch.source), 3, 4, 4))


def test_the_shape_network_has_the_published_size_and_keys():
    with torch.device("meta"):
        net = Deep3DNet()
    assert sum(p.numel() for p in net.parameters()) == 24_034_625
    state = net.state_dict()
    assert {key: tuple(state[key].shape) for key in SHAPE_KEYS} == SHAPE_KEYS
    assert len(state) == 332


def _batch_norm(x, p, name):
    mean, var, gain, bias = (
        p[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gain + bias


def _bottleneck(x, p, name, stride):
    y = _batch_norm(F.conv2d(x, p[f"{name}.conv1.weight"]), p, f"{name}.bn1").relu()
    y = _batch_norm(F.conv2d(y, p[f"{name}.conv2.weight"], stride=stride, padding=1), p, f"{name}.bn2").relu()
    y = _batch_norm(F.conv2d(y, p[f"{name}.conv3.weight"]), p, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in p:
        x = _batch_norm(F.conv2d(x, p[f"{name}.downsample.0.weight"], stride=stride), p, f"{name}.downsample.1")
    return (y + x).relu()


@pytest.fixture(scope="module")
def shape_state() -> dict[str, Tensor]:
    return random_state(Deep3DNet())


def test_the_shape_network_computes_what_the_description_says(shape_state, tmp_path):
    p = shape_state
    torch.save({"net_recon": p, "opt_00": {"state": {}, "param_groups": []}, "epoch": 20}, tmp_path / "epoch_20.pth")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    x = _batch_norm(F.conv2d(images, p["backbone.conv1.weight"], stride=2, padding=3), p, "backbone.bn1").relu()
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        for index in range(depth):
            x = _bottleneck(x, p, f"backbone.layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
    pooled = x.mean((2, 3))
    groups = [pooled @ p[f"final_layers.{i}.weight"].flatten(1).T + p[f"final_layers.{i}.bias"] for i in range(7)]
    assert [group.shape[1] for group in groups] == [80, 64, 80, 3, 27, 2, 1]
    expected = torch.cat(groups, 1)
    before = torch.get_rng_state()
    network = Deep3DShape(tmp_path / "epoch_20.pth")
    assert torch.equal(before, torch.get_rng_state())
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)
    assert not network.train().training and not any(p.requires_grad for p in network.parameters())


def test_the_shape_network_is_found_in_the_checkpoint(tmp_path):
    path = save(tmp_path / "hififace.ckpt", checkpoint(seed=5, shape=True))
    network = Deep3DShape(path)
    assert all(torch.equal(value, network.net.state_dict()[key]) for key, value in random_state(Deep3DNet(), 5).items())


def test_shape_files_that_do_not_fit_are_explained(shape_state, tmp_path):
    cut = {key: value for key, value in shape_state.items() if key != "final_layers.3.bias"}
    with raises(UnfitTensors, "Deep3DFaceRecon", "cut.pth", missing=["final_layers.3.bias"]):
        Deep3DShape(save(tmp_path / "cut.pth", cut))
    with raises(ForeignFile, path=tmp_path / "g.pth", found="SimSwap 224"):
        Deep3DShape(save(tmp_path / "g.pth", {"BottleNeck.0.style1.linear.weight": torch.ones(1)}))
    with raises(OptionError, argument="weights", value=None):
        Deep3DShape(None)
    with raises(ForeignFile, path=tmp_path / "shape.pth", found="Deep3DFaceRecon"):
        HifiFaceTeacher(save(tmp_path / "shape.pth", shape_state), "ffhq", TinyShape())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(tmp_path_factory.mktemp("hififace") / "hififace.ckpt", checkpoint())


def test_the_adapter_swaps_procedural_faces(path):
    before = torch.get_rng_state()
    shape, encoder = TinyShape(), TinyRecogniser()
    torch.set_rng_state(before)
    teacher = HifiFaceTeacher(path, "arcface_112_v2", shape, encoder)
    assert torch.equal(before, torch.get_rng_state())
    batch = strangers(2)
    out = teacher(batch, seen(batch))
    assert out.shape == batch.target.shape and out.min() >= 0 and out.max() <= 1
    assert (out - batch.target).abs().mean() > 0.02
    one = batch.take(slice(1, None))
    torch.testing.assert_close(teacher(one, seen(one)), out[1:], atol=1e-4, rtol=0)
    swapped = teacher(batch._replace(source=batch.source.flip(0)), seen(batch))
    assert (swapped - out).abs().mean() > 1e-4, "the source must matter"
    assert not teacher.train().training and not out.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert teacher.record.commercial is False and "BFM" in teacher.record.licence


def test_the_vector_holds_the_sources_shape_and_identity_and_the_rest_of_the_target(path):
    shape, encoder = TinyShape(), TinyRecogniser()
    teacher = HifiFaceTeacher(path, "ffhq", shape, encoder)
    batch, told = strangers(2, 256), []
    teacher.net.register_forward_pre_hook(lambda _, given: told.append(given))
    teacher(batch, seen(batch))
    target, vector = told[0]
    assert torch.equal(target, batch.target)
    assert torch.equal(shape.seen, torch.cat([batch.source, batch.target]))
    source_shape, target_shape = shape.conv(batch.source).mean((2, 3)), shape.conv(batch.target).mean((2, 3))
    expected = [source_shape[:, :80], target_shape[:, 80:], encoder(batch.source).embedding]
    torch.testing.assert_close(vector, torch.cat(expected, 1), atol=1e-6, rtol=1e-5)
    assert (source_shape - target_shape).abs().mean() > 1e-3


def test_it_runs_in_bfloat16(path):
    teacher = HifiFaceTeacher(path, "ffhq", TinyShape(), TinyRecogniser())
    batch = strangers(1)
    plain = teacher(batch, seen(batch))
    with torch.autocast("cpu", torch.bfloat16):
        lower = teacher(batch, seen(batch))
    assert lower.dtype == torch.float32
    assert (lower - plain).abs().mean() < 0.02


def test_a_shared_encoder_and_the_wrong_ones(path):
    shared = HifiFaceTeacher(path, "ffhq", TinyShape())
    assert shared.record.source.kind == "shared_embedding"
    shared.attach(None, TinyRecogniser())
    with raises(EncoderMismatch, wanted="ms1mv3_r100", given="w600k_r50"):
        shared.attach(None, TinyRecogniser("w600k_r50"))
    with raises(EncoderMismatch, wanted="ms1mv3_r100", given="w600k_r50"):
        HifiFaceTeacher(path, "ffhq", TinyShape(), TinyRecogniser("w600k_r50"))
    batch = strangers(1)
    embedding = F.normalize(torch.randn(1, 512, generator=torch.Generator().manual_seed(0)))
    out = shared(batch, IdentityFeatures(embedding, torch.zeros(1, 3, 4, 4)))
    turned = shared(batch, IdentityFeatures(-embedding, torch.zeros(1, 3, 4, 4)))
    assert (out - turned).abs().mean() > 1e-4
    brief = HifiFaceTeacher(path, "ffhq", nn.Sequential(TinyShape(), nn.Linear(257, 256)), TinyRecogniser())
    with raises(ValueError, "shape", "(2, 256)"):
        brief(batch, seen(batch))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda s: s.pop("generator.sff_module.sigma.side_path.0.bias"),
            "missing (sff_module.sigma.side_path.0.bias)",
        ),
        (lambda s: s.pop("generator.encoder.conv_first.weight"), "encoder.conv_first.weight"),
        (lambda s: s.update({"generator.extra.weight": torch.ones(1)}), "extra (extra.weight)"),
        (lambda s: s.update({"z_loss.net.weight": torch.ones(1)}), "extra (z_loss.net.weight)"),
        (
            lambda s: s.update({"generator.decoder.block_list.1.adain1.std_style_fc.bias": torch.ones(3)}),
            "decoder.block_list.1.adain1.std_style_fc.bias: file (3,), network (64,)",
        ),
        (
            lambda s: s.update({"generator.encoder.conv_first.weight": torch.ones(3)}),
            "encoder.conv_first.weight: file (3,)",
        ),
        (
            lambda s: s.clear() or s.update({"generator.AADBlk1.add_blocks.0.fc1.weight": torch.ones(1)}),
            "GHOST",
        ),
    ],
    ids=["missing", "missing first", "extra", "unknown prefix", "reshaped", "reshaped first", "GHOST"],
)
def test_files_that_do_not_fit_are_explained(tmp_path, change, named):
    tensors = checkpoint()
    change(tensors)
    with raises(UserError, "net.ckpt", named):
        HifiFaceTeacher(save(tmp_path / "net.ckpt", tensors), "ffhq", TinyShape(), TinyRecogniser())


def test_files_are_recognised_and_needed(shape_state):
    assert recognise(checkpoint()) == "HifiFace (maum-ai)"
    assert recognise(shape_state) == "Deep3DFaceRecon"
    assert generator_tensors(checkpoint()).keys() == HifiFaceNet(WIDTH).state_dict().keys()
    with raises(OptionError, argument="weights", value=None):
        HifiFaceTeacher(None, "ffhq", TinyShape(), TinyRecogniser())


def test_the_config_takes_everything_from_one_file(tmp_path):
    config = OmegaConf.create({"weights_dir": str(tmp_path), "data": {"template": "mtcnn"}})
    config.teacher = OmegaConf.load(conf_dir() / "teacher" / "hififace.yaml")
    file = tmp_path / "hififace_opensouce_299999.ckpt"
    assert config.teacher.weights == config.teacher.shape.weights == config.teacher.encoder.weights == str(file)
    save(file, checkpoint(shape=True))
    assert isinstance(instantiate(config.teacher.shape), Deep3DShape)
    config.teacher.encoder = None
    teacher = instantiate(config.teacher)
    assert teacher.crop_template == "mtcnn" and isinstance(teacher.shape, Deep3DShape)


def test_a_student_learns_from_it(path, tmp_path, make_module, make_data):
    module = make_module()
    module.supervisor.teacher = HifiFaceTeacher(path, "ffhq", TinyShape(), TinyRecogniser())
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=3,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, make_data())
    moved = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    assert {f"network.{name}" for name, _ in module.network.named_parameters()} <= moved
    assert not any(key.startswith(("teacher.", "encoder.")) for key in moved)
