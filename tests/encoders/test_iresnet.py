"""The network is compared with a literal reading of its description, its ONNX reader with ONNX Runtime."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from idn.encoders.iresnet import DEPTHS, IResNet, IResNetEncoder, iresnet_tensors
from idn.errors import ForeignFile, MissingFile, OptionError, UnfitTensors
from idn.files.tensors import load_strict
from idn.types import IdentityFeatures
from tests.raising import raises

PARAMETERS = {50: 43_590_848, 100: 65_156_160}
BLOCKS, CHANNELS, DIM, SIZE = (1, 2, 1, 1), (4, 6, 6, 8), 5, 32


def random_state(net, seed=0):
    """Random weights with the published names, of a magnitude that keeps many blocks alive."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, value in net.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            tensors[name] = 0.5 + torch.rand(value.shape, generator=generator)
        elif value.ndim > 1:
            tensors[name] = noise * value[0].numel() ** -0.5
        elif "prelu" in name:
            tensors[name] = 0.25 + 0.1 * noise
        else:
            tensors[name] = (1.0 if name.endswith("weight") else 0.0) + 0.2 * noise
    tensors["features.weight"] = torch.ones_like(tensors["features.weight"])
    return tensors


def tiny(seed=0):
    net = IResNet(BLOCKS, CHANNELS, DIM, SIZE).eval()
    load_strict(net, random_state(net, seed), "tiny")
    return net


def crops(n, size=SIZE):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _norm(x, p, name):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = p[f"{name}.running_mean"].view(shape), p[f"{name}.running_var"].view(shape)
    return (x - mean) / (var + 1e-5).sqrt() * p[f"{name}.weight"].view(shape) + p[f"{name}.bias"].view(shape)


def _prelu(x, slope):
    return torch.where(x > 0, x, x * slope[:, None, None])


def _block(x, p, name, stride):
    y = F.conv2d(_norm(x, p, f"{name}.bn1"), p[f"{name}.conv1.weight"], padding=1)
    y = _prelu(_norm(y, p, f"{name}.bn2"), p[f"{name}.prelu.weight"])
    y = _norm(F.conv2d(y, p[f"{name}.conv2.weight"], stride=stride, padding=1), p, f"{name}.bn3")
    if stride == 2:
        x = _norm(F.conv2d(x, p[f"{name}.downsample.0.weight"], stride=2), p, f"{name}.downsample.1")
    return y + x


def _reference(x, p, blocks):
    x = _prelu(_norm(F.conv2d(x, p["conv1.weight"], padding=1), p, "bn1"), p["prelu.weight"])
    for number, depth in enumerate(blocks, 1):
        for index in range(depth):
            x = _block(x, p, f"layer{number}.{index}", 2 if index == 0 else 1)
    features = _norm(x, p, "bn2")
    raw = _norm(features.reshape(len(x), -1) @ p["fc.weight"].T + p["fc.bias"], p, "features")
    return raw, features


@pytest.mark.parametrize("depth", PARAMETERS)
def test_it_has_the_published_number_of_parameters(depth):
    with torch.device("meta"):
        assert sum(p.numel() for p in IResNet(DEPTHS[depth]).parameters()) == PARAMETERS[depth]


def test_keys_are_the_published_ones():
    with torch.device("meta"):
        state = IResNet(DEPTHS[50]).state_dict()
    shapes = {
        "conv1.weight": (64, 3, 3, 3),
        "prelu.weight": (64,),
        "layer1.0.downsample.0.weight": (64, 64, 1, 1),
        "layer2.0.bn1.running_mean": (64,),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer3.13.prelu.weight": (256,),
        "layer4.0.downsample.1.running_var": (512,),
        "layer4.2.bn3.num_batches_tracked": (),
        "bn2.bias": (512,),
        "fc.weight": (512, 25088),
        "features.running_mean": (512,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert len(state) == 475
    assert "conv1.bias" not in state and "layer1.1.downsample.0.weight" not in state


def test_it_computes_what_the_description_says():
    net = tiny()
    raw, features = _reference(crops(3), net.state_dict(), BLOCKS)
    with torch.no_grad():
        seen = net(crops(3))
    torch.testing.assert_close(seen.features, features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.embedding * seen.length[:, None], raw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.embedding.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)
    assert [tuple(m.shape[1:]) for m in seen.shallow] == [(4, 32, 32), (4, 16, 16), (6, 8, 8)]


class RawEmbedding(nn.Module):
    """What insightface exports."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        seen = self.net(x)
        return self.net.features(self.net.fc(torch.flatten(seen.features, 1)))


def _export(net, path, form):
    """Write an ONNX file: "folded" as published, "plain" with every BatchNorm, "tail" with the last one in the Gemm."""
    onnx = pytest.importorskip("onnx")
    mode = torch.onnx.TrainingMode.PRESERVE if form == "plain" else torch.onnx.TrainingMode.EVAL
    example = (crops(1, SIZE),)
    torch.onnx.export(RawEmbedding(net).eval(), example, path, opset_version=11, dynamo=False, training=mode)
    model = onnx.load(path)
    if form == "tail":
        _fold_tail(model.graph, net.state_dict())
        onnx.save(model, path)
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]


def _fold_tail(graph, p):
    from onnx import numpy_helper

    gain = (p["features.weight"] / (p["features.running_var"] + 1e-5).sqrt()).double()
    gemm, norm = graph.node[-2], graph.node[-1]
    assert (gemm.op_type, norm.op_type) == ("Gemm", "BatchNormalization")
    weight = p["fc.weight"].double() * gain[:, None]
    bias = (p["fc.bias"] - p["features.running_mean"]).double() * gain + p["features.bias"]
    for number, value in ((1, weight), (2, bias)):
        gemm.input[number] = f"folded.{number}"
        graph.initializer.append(numpy_helper.from_array(value.float().numpy(), f"folded.{number}"))
    gemm.output[0] = norm.output[0]
    graph.node.remove(norm)


def _run(path, images):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in images])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("form", "norms"),
    [("folded", 5 + 2), ("tail", 5 + 1), ("plain", 1 + 3 * 5 + 4 + 2)],
    ids=["folded", "tail", "plain"],
)
def test_onnx_files_give_the_same_network(form, norms, tmp_path):
    net, path = tiny(), tmp_path / "net.onnx"
    kinds = _export(net, path, form)
    assert kinds.count("BatchNormalization") == norms
    read = IResNet(BLOCKS, CHANNELS, DIM, SIZE).eval()
    load_strict(read, iresnet_tensors(path), "exported")
    with torch.no_grad():
        ours, expected = read(crops(2)), net(crops(2))
    raw = ours.embedding * ours.length[:, None]
    torch.testing.assert_close(raw, torch.from_numpy(_run(path, crops(2))), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(raw, expected.embedding * expected.length[:, None], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.features, expected.features, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(ours.shallow, expected.shallow, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_onnx_in_half_precision_and_with_another_eps(tmp_path):
    onnx = pytest.importorskip("onnx")
    net, path = tiny(), tmp_path / "net.onnx"
    _export(net, path, "folded")
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 2e-3
    onnx.save(model, path)
    read = IResNet(BLOCKS, CHANNELS, DIM, SIZE).eval()
    load_strict(read, iresnet_tensors(path), "exported")
    with torch.no_grad():
        seen = read(crops(2))
    raw = seen.embedding * seen.length[:, None]
    torch.testing.assert_close(raw, torch.from_numpy(_run(path, crops(2))), atol=1e-5, rtol=1e-5)
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        tensor.CopyFrom(half)
    onnx.save(model, path)
    halved = iresnet_tensors(path)
    assert {value.dtype for value in halved.values()} == {torch.float32}
    load_strict(read, halved, "exported")
    with torch.no_grad():
        torch.testing.assert_close(read(crops(2)).embedding, seen.embedding, atol=1e-2, rtol=1e-2)


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 5))

    def forward(self, x):
        return self.body(x)


@pytest.mark.filterwarnings("ignore")
def test_another_graph_is_refused(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    torch.onnx.export(Other().eval(), (crops(1),), path, dynamo=False)
    with raises(ForeignFile, path=path):
        iresnet_tensors(path)


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_goes_on_after_the_embedding_is_refused(tmp_path):
    pytest.importorskip("onnx")

    class Unit(RawEmbedding):
        def forward(self, x):
            return F.relu(super().forward(x))

    path = tmp_path / "net.onnx"
    torch.onnx.export(Unit(tiny()).eval(), (crops(1),), path, dynamo=False)
    with raises(ForeignFile, path=path):
        iresnet_tensors(path)


@pytest.fixture(scope="module")
def state():
    """Weights of iResNet-18, the smallest published one."""
    return random_state(IResNet(DEPTHS[18]))


@pytest.fixture(scope="module")
def encoder(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("iresnet") / "backbone.safetensors"
    save_file(state, path)
    return IResNetEncoder(path, "arcface_112_v2", "ms1mv3_r18", depth=18)


def test_the_encoder_sees_what_the_description_says(state, encoder):
    images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(2))
    raw, features = _reference((images - 0.5) / 0.5, state, DEPTHS[18])
    seen = encoder(images)
    assert isinstance(seen, IdentityFeatures)
    torch.testing.assert_close(seen.embedding, raw / raw.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.length, raw.norm(dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.features, features, atol=1e-4, rtol=1e-4)
    assert seen.features.shape == (2, encoder.feature_channels, encoder.feature_size, encoder.feature_size)
    assert (encoder.name, encoder.embedding_dim) == ("ms1mv3_r18", 512)
    alone = encoder(images[1:])
    torch.testing.assert_close(alone.embedding[0], seen.embedding[1], atol=1e-5, rtol=1e-4)


def test_the_encoder_is_frozen_and_lets_gradients_through(encoder):
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert encoder.train() is encoder and not any(module.training for module in encoder.modules())
    images = torch.rand(1, 3, 80, 80, requires_grad=True)
    encoder(images).embedding[:, 0].sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())
    assert [key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])] == []


def test_wrapped_checkpoints_and_the_random_state(state, encoder, tmp_path):
    path = tmp_path / "wrapped.ckpt"
    wrapped = {f"generator.id_extractor.f_id.{key}": value for key, value in state.items()}
    torch.save({"state_dict": {"generator.encoder.conv_first.weight": torch.ones(1), **wrapped}}, path)
    before = torch.get_rng_state()
    again = IResNetEncoder(path, "arcface_112_v2", "ms1mv3_r18", depth=18)
    assert torch.equal(before, torch.get_rng_state()), "weights that are read must not use up random numbers"
    found = again.state_dict()
    assert [key for key, value in encoder.state_dict().items() if not torch.equal(value, found[key])] == []


@pytest.mark.parametrize(
    ("change", "fault", "named"),
    [
        (lambda s: s.pop("layer3.1.prelu.weight"), "missing", "layer3.1.prelu.weight"),
        (lambda s: s.pop("layer1.0.prelu.weight"), "missing", "layer1.0.prelu.weight"),
        (lambda s: s.update({"fc2.weight": torch.ones(1)}), "extra", "fc2.weight"),
        (lambda s: s.update({"prelu.weight": torch.ones(1)}), "misshaped", "prelu.weight"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("layer4.1.")], "said", "(2, 2, 2, 1)"),
        (lambda s: s.clear() or s.update({"weight": torch.ones(1)}), "said", "(0, 0, 0, 0)"),
    ],
)
def test_files_that_do_not_fit_are_explained(state, tmp_path, change, fault, named):
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "net.pth")
    with pytest.raises((UnfitTensors, ForeignFile)) as error:
        IResNetEncoder(tmp_path / "net.pth", "ffhq", "mine", depth=18)
    assert "net.pth" in str(error.value) and named in getattr(error.value, fault)


def test_options_that_cannot_be(state, tmp_path):
    torch.save(state, tmp_path / "net.pth")
    with raises(ForeignFile, path=tmp_path / "net.pth"):
        IResNetEncoder(tmp_path / "net.pth", "ffhq", "mine")
    with raises(OptionError, argument="depth", value=51):
        IResNetEncoder(tmp_path / "net.pth", "ffhq", "mine", depth=51)
    with raises(OptionError, argument="weights", value=None) as caught:
        IResNetEncoder(None, "ffhq", "w600k_r50")
    assert caught.value.argument == "weights"
    with raises(OptionError, argument="crop_template", value="face"):
        IResNetEncoder(tmp_path / "net.pth", "face", "mine", depth=18)
    with raises(MissingFile, path=tmp_path / "missing.onnx"):
        IResNetEncoder(tmp_path / "missing.onnx", "ffhq", "mine")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_full_size_from_onnx(tmp_path):
    pytest.importorskip("onnx")
    net, path = IResNet(DEPTHS[50]).eval(), tmp_path / "w600k_r50.onnx"
    load_strict(net, random_state(net), "full size")
    images = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(3))
    torch.onnx.export(RawEmbedding(net).eval(), (images,), path, opset_version=11, dynamo=False)
    with torch.no_grad():
        expected = net(images * 2 - 1)
    del net
    encoder = IResNetEncoder(path, "arcface_112_v2", "w600k_r50")
    seen = encoder(images)
    scale = expected.length[:, None]
    torch.testing.assert_close(seen.embedding * seen.length[:, None] / scale, expected.embedding, atol=1e-5, rtol=0)
    measured = torch.from_numpy(_run(path, images * 2 - 1)) / scale
    torch.testing.assert_close(seen.embedding * seen.length[:, None] / scale, measured, atol=1e-5, rtol=0)
    with raises(ForeignFile, path=path):
        IResNetEncoder(path, "ffhq", "w600k_r50", depth=100)
