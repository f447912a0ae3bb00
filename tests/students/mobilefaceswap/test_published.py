"""The published weights, against the published network written down a second time on the published names."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from idn.errors import OptionError, UnfitTensors
from idn.files.tensors import read_metadata
from idn.students.mobilefaceswap.published import import_mobilefaceswap, import_student
from idn.students.student_file import load_student
from idn.types import IdentityFeatures
from tests.raising import raises

CHANNELS = [3, 32, 64, 128, 256, 512]
DECODER = [(512, 256), (512, 128), (256, 64), (128, 32)]
MASK = [512, 128, 64, 32, 8, 2]


def published_weights(seed=0) -> dict[str, np.ndarray]:
    """Random weights under the names, in the shapes and in the layouts of the published file."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def conv(name, c_in, c_out, k, groups=1, gain=1.0):
        fan = c_in // groups * k * k
        weights[f"{name}.weight"] = rng.normal(0, gain * fan**-0.5, (c_out, c_in // groups, k, k))
        weights[f"{name}.bias"] = rng.normal(0, 0.1, c_out)

    def norm(name, c):
        weights[f"{name}.weight"] = rng.uniform(0.5, 1.5, c)
        weights[f"{name}.bias"] = rng.normal(0, 0.3, c)
        weights[f"{name}._mean"] = rng.normal(0, 0.3, c)
        weights[f"{name}._variance"] = rng.uniform(0.5, 2, c)

    def modulation(name, c_in, c_out):
        weights[f"{name}.weight"] = rng.normal(0, 1, (c_out, c_in, 1, 1))
        weights[f"{name}.style.weight"] = rng.normal(0, 0.5, (512, c_in))
        weights[f"{name}.style.bias"] = rng.normal(0, 0.2, c_in)

    for i in range(5):
        modulation(f"EncoderModulation.{i}", CHANNELS[i], CHANNELS[i + 1])
    for i, (c_in, c_out) in enumerate(DECODER):
        modulation(f"DecoderModulation.{i}", c_in, c_out)
    conv("predictor.first", 512, 512, 4)
    conv("predictor.first_decoder", 512, 512, 2)
    norm("predictor.decoder_norm", 512)
    norm("predictor.norm", 512)
    for chain, sizes in (("encoder", [512, *CHANNELS[4::-1]]), ("decoder", [512, 512, 512, 256, 128])):
        for i in range(len(sizes) - 1):
            conv(f"predictor.{chain}.{i}.conv", sizes[i], sizes[i + 1], 3)
            norm(f"predictor.{chain}.{i}.norm", sizes[i + 1])
            conv(f"predictor.{chain}.{i}.weight", sizes[i + 1], sizes[i + 1], 3, gain=0.5)
    for i, c_in, c_out, k in ((1, 32, 8, 1), (4, 8, 3, 3), (7, 3, 3, 3)):
        conv(f"final.{i}", c_in, c_out, k)
    norm("final.2", 8)
    norm("final.5", 3)
    for i in range(5):
        conv(f"mask.{i}.1", MASK[i], MASK[i], 3, groups=MASK[i])
        conv(f"mask.{i}.2", MASK[i], MASK[i + 1], 1)
        norm(f"mask.{i}.3", MASK[i + 1])
    conv("mask.5", 2, 1, 3)
    return {name: value.astype(np.float32) for name, value in weights.items()}


class Published:
    """The published inference, as functions of the published dictionary."""

    def __init__(self, weights, dtype):
        self.w = {name: torch.from_numpy(value).to(dtype) for name, value in weights.items()}

    def conv(self, name, x, padding=0, groups=1):
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], padding=padding, groups=groups)

    def norm(self, name, x):
        mean, variance = self.w[f"{name}._mean"], self.w[f"{name}._variance"]
        scale, shift = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        mean, variance, scale, shift = (v.view(1, -1, 1, 1) for v in (mean, variance, scale, shift))
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def modulated(self, name, emb):
        weight = self.w[f"{name}.weight"] * (1 + self.linear(f"{name}.style", emb)).view(1, -1, 1, 1)
        return weight * (weight.square().sum((1, 2, 3), keepdim=True) + 1e-16).rsqrt()

    def kernels(self, features):
        x = relu(self.norm("predictor.norm", self.conv("predictor.first", features)))
        y = relu(self.norm("predictor.decoder_norm", self.conv("predictor.first_decoder", x)))
        encoder, decoder = [], []
        for name, count, read, grid in (("encoder", 5, encoder, x), ("decoder", 4, decoder, y)):
            for i in range(count):
                block = f"predictor.{name}.{i}"
                grid = relu(self.norm(f"{block}.norm", self.conv(f"{block}.conv", grid, 1)))
                read.append(self.conv(f"{block}.weight", grid, 1)[0].unsqueeze(1))
        return encoder[::-1], decoder

    def swap(self, image, emb, features):
        """One identity, any number of targets."""
        encoder, decoder = self.kernels(features)
        x, maps = image * 2 - 1, []
        for i, kernel in enumerate(encoder):
            x = F.conv2d(x, kernel, stride=2, padding=1, groups=len(kernel))
            x = relu(F.conv2d(x, self.modulated(f"EncoderModulation.{i}", emb)))
            maps.append(x)
        mask = x
        for i in range(5):
            mask = self.conv(f"mask.{i}.1", up(mask), 1, MASK[i])
            mask = relu(self.norm(f"mask.{i}.3", self.conv(f"mask.{i}.2", mask)))
        mask = torch.sigmoid(self.conv("mask.5", mask, 1))
        for i, kernel in enumerate(decoder):
            x = F.conv2d(up(x), kernel, padding=1, groups=len(kernel))
            x = relu(F.conv2d(x, self.modulated(f"DecoderModulation.{i}", emb)))
            if i < 3:
                x = torch.cat([x, maps[3 - i]], 1)
        x = relu(self.norm("final.2", self.conv("final.1", up(x))))
        x = relu(self.norm("final.5", self.conv("final.4", x, 1)))
        generated = (1 + torch.tanh(self.conv("final.7", x, 1))) / 2
        return generated * mask + (1 - mask) * image, mask


def relu(x):
    return F.leaky_relu(x, 0.1)


def up(x):
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def write(path, weights, protocol):
    """As Paddle saves a state dict: one bare pickle, with a table of its own parameter names at the end."""
    names = {name: f"param_{i}.w_0" for i, name in enumerate(weights)}
    path.write_bytes(pickle.dumps({**weights, "StructuredToParameterName@@": names}, protocol))


@pytest.fixture(scope="module")
def weights():
    return published_weights()


def identity():
    generator = torch.Generator().manual_seed(2)
    emb = F.normalize(torch.randn(1, 512, generator=generator))
    return emb, torch.randn(1, 512, 7, 7, generator=generator)


@pytest.mark.parametrize("protocol", [2, pytest.param(3, marks=pytest.mark.slow), 4])
def test_every_protocol_gives_the_same_student(tmp_path, weights, protocol):
    path = tmp_path / "weights.pdparams"
    write(path, weights, protocol)
    student = import_mobilefaceswap(path)
    assert torch.equal(student.injection.prediction.stem.weight, torch.from_numpy(weights["predictor.first.weight"]))
    assert sum(v.numel() for k, v in student.state_dict().items() if "tracked" not in k) == 20_706_030


@pytest.mark.parametrize(
    ("dtype", "kernel", "pixel"),
    [pytest.param(torch.float32, 5e-6, 1e-4, marks=pytest.mark.slow), (torch.float64, 1e-12, 1e-10)],
)
def test_imported_student_equals_the_published_network(tmp_path, weights, dtype, kernel, pixel):
    path, out = tmp_path / "weights.pdparams", tmp_path / "student.safetensors"
    write(path, weights, 4)
    import_student(path, out)
    student = load_student(out).eval().to(dtype)
    emb, features = (x.to(dtype) for x in identity())
    published = Published(weights, dtype)
    predicted = student.inject(emb, features)
    encoder, decoder = published.kernels(features)
    for got, expected in zip(predicted.depthwise, encoder + decoder, strict=True):
        torch.testing.assert_close(got[0].unsqueeze(1), expected, atol=kernel, rtol=0)
    names = [f"EncoderModulation.{i}" for i in range(5)] + [f"DecoderModulation.{i}" for i in range(4)]
    for name, pointwise, scale, demodulation in zip(names, *predicted[1:], strict=True):
        got = pointwise * scale[0] * demodulation[0][:, None]
        torch.testing.assert_close(got, published.modulated(name, emb)[:, :, 0, 0], atol=kernel, rtol=0)
    target = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(4)).to(dtype)
    image, mask = student(target, IdentityFeatures(emb, features))[:2]
    expected_image, expected_mask = published.swap(target, emb, features)
    assert expected_mask.std() > 0.01
    assert (expected_image - target).std() > 0.05
    torch.testing.assert_close(image, expected_image, atol=pixel, rtol=0, check_stride=False)
    torch.testing.assert_close(mask, expected_mask, atol=pixel, rtol=0, check_stride=False)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda w: w.pop("predictor.norm._mean"), {"missing": ["injection.prediction.norm.running_mean"]}),
        (lambda w: w.update({"predictor.more": np.zeros(1, np.float32)}), {"extra": ["injection.prediction.more"]}),
        (lambda w: w.update({"final.7.bias": np.zeros(4, np.float32)}), {"misshaped": ["idn.head.conv2.bias"]}),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path, weights, damage, found):
    changed = dict(weights)
    damage(changed)
    write(tmp_path / "weights.pdparams", changed, 4)
    with raises(UnfitTensors, "weights.pdparams", "MobileFaceSwap_224.pdparams", **found):
        import_mobilefaceswap(tmp_path / "weights.pdparams")


def test_an_imported_student_carries_origin_and_licence_of_its_teacher(tmp_path, weights):
    path, out = tmp_path / "MobileFaceSwap_224.pdparams", tmp_path / "student.safetensors"
    write(path, weights, 4)
    import_student(path, out)
    notes = read_metadata(out)
    assert notes["origin"] == "MobileFaceSwap_224.pdparams"
    assert notes["origin_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (notes["teacher"], notes["teacher_licence"]) == ("SimSwap", "CC-BY-NC-4.0")
    assert notes["teacher_commercial_use"] == "forbidden"
    assert "ArcFace" in notes["encoder"]


def test_a_student_file_has_the_ending_of_its_format(tmp_path, weights):
    with raises(OptionError, argument="out"):
        import_student(tmp_path / "in.pdparams", tmp_path / "out.pt")
