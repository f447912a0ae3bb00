"""A second student: one class and one config, and every verb takes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import idn
from idn.encoders.trained import TrainedMobileFaceNet
from idn.export.formats import format_named
from idn.images import to_pm1
from idn.students.protocol import SwapStudent
from idn.students.student_file import load_student, read_student_file
from idn.types import EncoderDescription, IdentityFeatures, SwapOutput

CONFIG = f"_target_: {__name__}.Toy\n_partial_: true\nchannels: 8\n"
SMALL = (
    "student=toy",
    "data.size=32",
    "data.batch=2",
    "data.val_batches=1",
    "data.workers=0",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.accelerator=cpu",
)


class Toy(SwapStudent, architecture="test-toy"):
    """Two convolutions; the embedding scales the maps between them. No mask, and no features are read."""

    reads = ("embedding",)

    def __init__(self, encoder: EncoderDescription, channels: int = 16) -> None:
        super().__init__(encoder, {"channels": channels})
        self.first, self.last = nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 3, 3, padding=1)
        self.gain = nn.Linear(encoder.embedding_dim, channels)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        identity = identity.for_targets(target)
        gain = 1 + self.gain(identity.embedding)[:, :, None, None]
        maps = torch.relu(self.first(to_pm1(target))) * gain
        return SwapOutput((target + torch.tanh(self.last(maps)) / 4).clamp(0, 1))


def train(folder: Path, *words: str) -> Path:
    """Two steps by the ordinary recipe."""
    (folder / "conf/student").mkdir(parents=True)
    (folder / "conf/student/toy.yaml").write_text(CONFIG)
    where = f"hydra.searchpath=[file://{folder / 'conf'}]", f"hydra.run.dir={folder / 'run'}"
    result = idn.train((*SMALL, *where, *words))
    assert result.metrics["val/psnr_truth"] > 0
    return Path(result.path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By distillation."""
    return train(tmp_path_factory.mktemp("toy"))


def test_it_learns_from_exact_answers(trained: Path, tmp_path: Path) -> None:
    exact = load_student(train(tmp_path, "teacher=truth", "reweight=none"))
    assert not torch.equal(exact.first.weight, load_student(trained).first.weight)


def test_it_learns_is_validated_saved_and_loaded(trained: Path) -> None:
    file, student = read_student_file(trained), load_student(trained)
    assert (file.architecture, file.config, file.template, file.size) == ("test-toy", {"channels": 8}, "ffhq", 32)
    assert type(student) is Toy and file.encoder.name == TrainedMobileFaceNet(None, "ffhq").name
    torch.manual_seed(0)
    assert not torch.equal(student.first.weight, Toy(file.encoder, 8).first.weight)


def test_it_swaps_in_python(trained: Path) -> None:
    swapper = idn.load(trained)
    who = swapper.identity(torch.rand(3, 64, 64), aligned=True)
    target = torch.rand(1, 3, 32, 32)
    picture = swapper.swap(who, target, aligned=True)
    (baked,) = swapper.bake(who)(target)
    torch.testing.assert_close(picture, baked, atol=1 / 255, rtol=0)


def test_any_person_leaves_as_encoder_and_student(trained: Path, idn_cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    words = (f"weights={trained}", "source=none", "out=any", "crops=2", "format=[onnx,safetensors]")
    status, out, err = idn_cli("export", *words)
    assert status == 0 and "not encoder: keep its own file" in out, err
    card = json.loads((tmp_path / "any/card.json").read_text())
    assert [file["path"] for file in card["files"]] == ["encoder.onnx", "swap.onnx", "swap.safetensors"]
    assert all(file["psnr"] is None or file["psnr"] > 100 for file in card["files"])
    sides = card["networks"]["swap"]
    assert [value["name"] for value in sides["inputs"]] == ["target", "embedding"]
    assert [value["name"] for value in sides["outputs"]] == ["image"]
    assert (card["student"]["architecture"], card["student"]["config"]) == ("test-toy", {"channels": 8})
    assert (card["student"]["weights"], card["student"]["macs"]) == (2 * 3 * 8 * 9, 2 * 3 * 8 * 9 * 32 * 32)
    side = card["encoder"]["size"]
    crop, target = (np.random.default_rng(0).random((1, 3, n, n), np.float32) for n in (side, 32))
    seen = format_named("onnx").open(tmp_path / "any/encoder.onnx", 1)(crop)
    who = IdentityFeatures(torch.from_numpy(seen[0]), torch.zeros(0))
    with torch.no_grad():
        expected = load_student(trained)(torch.from_numpy(target), who)
    assert len(seen) == 1
    for name in ("onnx", "safetensors"):
        (image,) = format_named(name).open(tmp_path / f"any/swap.{name}", 1)(target, *seen)
        assert np.abs(image - expected.image.numpy()).max() < 1e-5


@pytest.mark.slow
def test_one_person_leaves_in_any_size(trained: Path, idn_cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "crop.png")
    words = (f"weights={trained}", "source=crop.png", "aligned=true", "out=one", "crops=2")
    formats = ("format=[onnx,pt2]", "format.onnx.dynamic_size=true", "format.onnx.dynamic_batch=true")
    status, _, err = idn_cli("export", *words, *formats, "format.pt2.dynamic_size=true")
    assert status == 0, err
    target = np.random.default_rng(1).random((2, 3, 40, 56), np.float32)
    (image,) = format_named("onnx").open(tmp_path / "one/swap.onnx", 1)(target)
    (other,) = format_named("pt2").open(tmp_path / "one/swap.pt2", 1)(target[:1])
    assert image.shape == target.shape and np.abs(image[:1] - other).max() < 1e-5


@pytest.mark.slow
def test_its_time_is_measured(trained: Path, idn_cli) -> None:
    status, out, err = idn_cli("bench", f"weights={trained}", "threads=1", "seconds=0.01", "rounds=1", "size=40")
    assert status == 0 and "torch eager" in out and "inject identity" not in out, err
