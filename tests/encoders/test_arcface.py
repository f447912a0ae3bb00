"""The network is compared with a literal reading of the published architecture that shares no code with it."""

import pytest
import torch
import torch.nn.functional as F

from idn.encoders.arcface import ArcFaceEncoder, ArcFaceNet, arcface_tensors
from idn.errors import OptionError, UnfitTensors
from idn.files.tensors import load_strict
from tests.raising import raises

PARAMETERS = 52_193_215
LINEAR = (".se.fc.0.weight", ".se.fc.2.weight")


@pytest.fixture(scope="module")
def state():
    """Random weights with the published names, of a magnitude that keeps 36 blocks alive."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, value in ArcFaceNet().state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            tensors[name] = 0.5 + 1.5 * torch.rand(value.shape, generator=generator)
        elif value.ndim > 1:
            tensors[name] = noise * value[0].numel() ** -0.5
        elif "prelu" in name or name.endswith("fc.1.weight"):
            tensors[name] = 0.25 + 0.1 * noise
        else:
            tensors[name] = (1.0 if "weight" in name else 0.0) + 0.2 * noise
    return tensors


def _paddle(tensors):
    """What paddle.save writes for the same network."""
    out = {}
    for name, value in tensors.items():
        new = name.replace("running_mean", "_mean").replace("running_var", "_variance")
        new = new.replace("prelu.weight", "prelu._weight").replace("se.fc.1.weight", "se.fc.1._weight")
        out[new] = value.T if name == "fc.weight" or name.endswith(LINEAR) else value
    return out


def _batch_norm(x, p, name):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = p[f"{name}.running_mean"].view(shape), p[f"{name}.running_var"].view(shape)
    return (x - mean) / (var + 1e-5).sqrt() * p[f"{name}.weight"].view(shape) + p[f"{name}.bias"].view(shape)


def _prelu(x, slope):
    return torch.where(x > 0, x, x * slope)


def _block(x, p, name, stride):
    y = F.conv2d(_batch_norm(x, p, f"{name}.bn0"), p[f"{name}.conv1.weight"], padding=1)
    y = _prelu(_batch_norm(y, p, f"{name}.bn1"), p[f"{name}.prelu.weight"])
    y = _batch_norm(F.conv2d(y, p[f"{name}.conv2.weight"], stride=stride, padding=1), p, f"{name}.bn2")
    pooled = y.flatten(2).mean(2)
    hidden = _prelu(pooled @ p[f"{name}.se.fc.0.weight"].T + p[f"{name}.se.fc.0.bias"], p[f"{name}.se.fc.1.weight"])
    gate = 1 / (1 + torch.exp(-(hidden @ p[f"{name}.se.fc.2.weight"].T + p[f"{name}.se.fc.2.bias"])))
    y = y * gate[:, :, None, None]
    if f"{name}.downsample.0.weight" in p:
        x = _batch_norm(F.conv2d(x, p[f"{name}.downsample.0.weight"], stride=stride), p, f"{name}.downsample.1")
    return _prelu(y + x, p[f"{name}.prelu.weight"])


def _reference(images, p):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean[:, None, None]) / std[:, None, None]
    x = _prelu(_batch_norm(F.conv2d(x, p["conv1.weight"]), p, "bn1"), p["prelu.weight"])
    x = F.max_pool2d(x, 2, 2)
    for number, depth in enumerate((3, 4, 23, 3), 1):
        for index in range(depth):
            x = _block(x, p, f"layer{number}.{index}", 2 if number > 1 and index == 0 else 1)
    features = _batch_norm(x, p, "bn2")
    embedding = _batch_norm(features.reshape(len(x), -1) @ p["fc.weight"].T + p["fc.bias"], p, "bn3")
    return embedding / embedding.norm(dim=1, keepdim=True), features


def test_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in ArcFaceNet().parameters()) == PARAMETERS


@pytest.fixture(scope="module")
def case(state):
    images = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, *_reference(images, state)


@pytest.mark.parametrize("layout", ["torch", "wrapped", "paddle"])
def test_every_published_layout_gives_the_reference_output(state, case, layout, tmp_path):
    files = {
        "torch": state,
        "wrapped": {f"module.{key}": value for key, value in state.items()} | {"weight": torch.zeros(4, 512)},
        "paddle": _paddle(state),
    }
    images, embedding, features = case
    path = tmp_path / "arcface.pt"
    torch.save(files[layout], path)
    encoder = ArcFaceEncoder(path, "arcface_112_v2")
    with torch.no_grad():
        seen = encoder(images)
    torch.testing.assert_close(seen.embedding, embedding, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.features, features, atol=1e-4, rtol=1e-4)
    assert [tuple(m.shape[1:]) for m in seen.shallow] == [(64, 110, 110), (64, 55, 55), (128, 28, 28)]


def test_a_missing_tensor_is_named(state):
    cut = {key: value for key, value in _paddle(state).items() if key != "layer3.7.se.fc.1._weight"}
    with raises(UnfitTensors, missing=["layer3.7.se.fc.1.weight"]):
        load_strict(ArcFaceNet(), arcface_tensors(cut), "ArcFace")


def test_it_needs_its_file():
    with raises(OptionError, argument="weights"):
        ArcFaceEncoder(None, "ffhq")
