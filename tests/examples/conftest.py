"""Small exported products of random students, and a photo of a procedural face whose landmarks are known."""

import importlib.util
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.export.card import framing, signature
from idn.export.encoder_network import encoder_network
from idn.geometry.affine import transform_points
from idn.geometry.templates import template_points
from idn.geometry.warping import warp
from idn.images import to_uint8
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static_graph import baked
from idn.students.mobilefaceswap.student import Student
from idn.types import Network

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 64


class Exported(NamedTuple):
    """A folder as `idn export` writes it, and the same networks in PyTorch."""

    folder: Path
    networks: dict[str, Network]

    def torch(self, name: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return self.networks[name].module(*inputs)


class Photo(NamedTuple):
    """A face somewhere in a picture."""

    pixels: np.ndarray
    """(H, W, 3) uint8."""
    landmarks: np.ndarray
    """(5, 2) in pixels: exactly where the template puts them."""
    to_crop: Tensor
    """(2, 3): from pixels to normalised crop coordinates."""


@pytest.fixture(scope="session")
def client() -> Iterable[ModuleType]:
    """examples/python/swap.py, which finds the files beside it."""
    pytest.importorskip("onnxruntime", reason="the Python client needs onnxruntime")
    spec = importlib.util.spec_from_file_location("example_swap", EXAMPLES / "python/swap.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES / "python")
        spec.loader.exec_module(module)
        yield module


def write(folder: Path, networks: Iterable[Network], encoder: dict | None) -> Exported:
    """Write networks as ONNX, and the parts of the card that clients read."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"the exported files need {package}")
    known, files = {}, []
    for network in networks:
        path = folder / f"{network.name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.module,
                tuple(network.inputs.values()),
                str(path),
                input_names=list(network.inputs),
                output_names=list(network.outputs),
                dynamo=False,
            )
        known[network.name] = network
        files.append({"path": path.name, "network": network.name, "format": "onnx", "precision": "fp32"})
    card = {
        "size": SIZE,
        "template": framing("ffhq"),
        "encoder": encoder,
        "networks": {name: signature(network) for name, network in known.items()},
        "files": files,
    }
    (folder / "card.json").write_text(json.dumps(card))
    return Exported(folder, known)


def student(encoder: TrainedMobileFaceNet) -> Student:
    """A random one whose identities differ visibly: the gains that start at zero are drawn, too."""
    torch.manual_seed(3)
    made = Student(describe_encoder(encoder), width=0.25).eval()
    for module in made.injection.modulation:
        torch.nn.init.normal_(module.gain.weight, std=1.0)
    return made.requires_grad_(False)


@pytest.fixture(scope="session")
def encoder() -> TrainedMobileFaceNet:
    """The bundled recogniser, for crops in its own alignment."""
    bundled = TrainedMobileFaceNet(weights=None, crop_template="ffhq")
    return TrainedMobileFaceNet(weights=None, crop_template=bundled.template)


@pytest.fixture(scope="session")
def one_person(tmp_path_factory: pytest.TempPathFactory, encoder: TrainedMobileFaceNet) -> Exported:
    """A baked product."""
    made = student(encoder)
    who = encoder(torch.rand(1, 3, encoder.input_size, encoder.input_size))
    network = baked(made.bake(who.embedding, who.features), SIZE)
    return write(tmp_path_factory.mktemp("baked"), [network], None)


@pytest.fixture(scope="session")
def anybody(tmp_path_factory: pytest.TempPathFactory, encoder: TrainedMobileFaceNet) -> Exported:
    """A dynamic product."""
    networks = encoder_network(encoder), *dynamic(student(encoder), SIZE, runtime_kernels=True)
    seen = {"size": encoder.input_size, "template": framing(encoder.template)}
    return write(tmp_path_factory.mktemp("dynamic"), networks, seen)


def similarity(degrees: float, scale: float, x: float, y: float) -> Tensor:
    """(2, 3): turn by an angle, enlarge, shift."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    a, b = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([a, -b, a.new_tensor(x)]), torch.stack([b, a, a.new_tensor(y)])])


@pytest.fixture(scope="session")
def faces() -> Tensor:
    """(2, 3, 128, 128): two procedural people in the framing of the products."""
    renderer, generator = FaceRenderer(glasses=0, occluders=0), torch.Generator().manual_seed(5)
    identity, attributes = (draw(2, generator) for draw in (renderer.sample_identity, renderer.sample_attributes))
    return renderer.render(identity, attributes, 128).image


def place(face: Tensor, crop_to_photo: Tensor, width: int, height: int) -> Photo:
    """A picture with the face at a known place. crop_to_photo: from normalised crop coordinates to pixels."""
    side = max(width, height)
    canvas = to_uint8(warp(face[None], crop_to_photo / side, side))[0].permute(1, 2, 0)[:height, :width].numpy()
    landmarks = transform_points(template_points("ffhq"), crop_to_photo)
    linear = torch.linalg.inv(crop_to_photo[:, :2])
    to_crop = torch.cat([linear, -linear @ crop_to_photo[:, 2:]], 1)
    return Photo(np.ascontiguousarray(canvas), landmarks.numpy(), to_crop)


@pytest.fixture(scope="session")
def photo(faces: Tensor) -> Photo:
    """The first face, enlarged, turned and reaching over the right border."""
    return place(faces[0], similarity(17, 150, 80, 12), 200, 230)


@pytest.fixture(scope="session")
def source(faces: Tensor) -> Photo:
    """The second face, so small that no crop of it averages, and turned the other way."""
    return place(faces[1], similarity(-12, 60, 15, 30), 100, 100)


@pytest.fixture(scope="session")
def aligned(faces: Tensor) -> Photo:
    """The first face as a crop that needs no alignment."""
    return place(faces[0], similarity(0, SIZE, 0, 0), SIZE, SIZE)
