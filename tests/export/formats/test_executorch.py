import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import DamagedFile, FileError, MissingExtra, UserError
from idn.export.contract import Arrays
from idn.export.encoder_network import EncoderGraph
from idn.export.formats.executorch import ExecuTorchFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static_graph import baked
from idn.types import IdentityFeatures, Network
from tests.export.conftest import student
from tests.raising import raises

pytest.importorskip("executorch")
pytest.importorskip("torchao")


class Tiny(nn.Module):
    """A convolution, an upsampling and a mask: all that is delicate about a student."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.image, self.mask = nn.Conv2d(8, 3, 3, 1, 1), nn.Conv2d(8, 1, 3, 1, 1)

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(F.leaky_relu(self.first(target)), scale_factor=2.0, mode="bilinear", align_corners=True)
        mask = torch.sigmoid(self.mask(x))
        return target + mask * (torch.sigmoid(self.image(x)) - target), mask


class Recogniser(nn.Module):
    """An encoder with what recognisers are made of, its weights in the memory order that training likes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 16, 3, 2, 1))
        self.embed = nn.Linear(16 * 16, 16)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> IdentityFeatures:
        features = self.maps(2 * images - 1)
        return IdentityFeatures(F.normalize(self.embed(features.flatten(1))), features)


def frozen(name: str, module: nn.Module, side: int, inputs: str, outputs: tuple[str, ...]) -> Network:
    example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    delicate = tuple(output for output in outputs if output == "mask")
    return Network(name, module.eval().requires_grad_(False), {inputs: example}, outputs, delicate=delicate)


TINY = frozen("swap", Tiny(), 16, "target", ("image", "mask"))


def examples(network: Network, count: int = 2) -> list[Arrays]:
    draw = np.random.default_rng(0)
    likes = [value.numpy() for value in network.inputs.values()]
    return [tuple(like * draw.uniform(0.8, 1, like.shape).astype(np.float32) for like in likes) for _ in range(count)]


def error(network: Network, path: Path, threads: int = 1) -> float:
    given = examples(network)
    return compare(network, ExecuTorchFormat().open(path, threads), given, reference(network, given)).max_abs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("executorch") / "new" / "swap.pte"
    ExecuTorchFormat().write(TINY, path, "fp32", [])
    return path


def test_a_file_computes_what_pytorch_computes(tiny: Path) -> None:
    assert error(TINY, tiny) < 1e-5
    assert [entry.name for entry in tiny.parent.iterdir()] == [tiny.name]
    assert tiny.read_bytes()[4:8] == b"ET12"


@pytest.mark.parametrize(("precision", "most"), [pytest.param("fp16", 2e-3, marks=pytest.mark.slow), ("int8", 2e-2)])
def test_other_precisions_are_near(tmp_path: Path, precision: str, most: float) -> None:
    path, network = tmp_path / "swap.pte", TINY._replace(delicate=())
    ExecuTorchFormat().write(network, path, precision, examples(TINY))
    assert 1e-5 < error(TINY, path) < most
    assert ExecuTorchFormat().open(path, 1)(TINY.inputs["target"].numpy())[0].dtype == np.float32


def test_int8_leaves_alone_what_the_mask_hangs_on(tmp_path: Path) -> None:
    class Apart(Tiny):
        def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
            mask = torch.sigmoid(self.mask(self.first(target)))
            return self.image(F.pad(2 * target, (0, 0, 0, 0, 0, 5))) * mask.mean(), mask

    network = frozen("swap", Apart(), 16, "target", ("image", "mask"))
    ExecuTorchFormat().write(network, tmp_path / "swap.pte", "int8", examples(network))
    given = examples(network, 1)[0]
    (image, mask), right = ExecuTorchFormat().open(tmp_path / "swap.pte", 1)(*given), reference(network, [given])[0]
    assert np.abs(mask - right[1]).max() < 1e-6
    assert np.abs(image - right[0]).max() > 1e-4


@pytest.mark.slow
def test_every_network_of_a_student(tmp_path: Path) -> None:
    path = tmp_path / "any.pte"
    swap = baked(student().bake(torch.randn(1, 16), torch.rand(1, 32, 7, 7)), 64)
    for network in (swap, *dynamic(student(), 64, ExecuTorchFormat.runtime_kernels)):
        largest = max(float(np.abs(value).max()) for value in reference(network, examples(network))[0])
        for precision, most in (("fp32", 1e-5), ("fp16", 2e-2), ("int8", 5e-2)):
            ExecuTorchFormat().write(network, path, precision, examples(network))
            assert error(network, path) < most * largest


def test_an_encoder(tmp_path: Path) -> None:
    reads = ("embedding", "features")
    network = frozen("encoder", EncoderGraph(Recogniser(), reads), 16, "crop", reads)
    ExecuTorchFormat().write(network, tmp_path / "encoder.pte", "fp32", [])
    assert error(network, tmp_path / "encoder.pte") < 1e-5


def test_work_that_would_not_be_delegated_is_an_error(tmp_path: Path) -> None:
    class Runtime(nn.Module):
        def forward(self, target: Tensor) -> tuple[Tensor]:
            return (F.conv2d(target, target[:, :, :5, :5].transpose(0, 1).expand(-1, 1, -1, -1), groups=3),)

    network = frozen("swap", Runtime(), 320, "target", ("image",))
    with raises(UserError, "aten.convolution.default", "swap"):
        ExecuTorchFormat().write(network, tmp_path / "swap.pte", "fp32", [])
    assert list(tmp_path.iterdir()) == []


def test_runners_of_other_thread_counts_stay_valid(tiny: Path) -> None:
    from executorch.extension.pybindings import portable_lib

    one, two = (ExecuTorchFormat().open(tiny, threads) for threads in (1, 2))
    expected = reference(TINY, examples(TINY, 1))[0][0]
    for _ in range(3):
        for threads, runner in ((1, one), (2, two)):
            image, _ = runner(*examples(TINY, 1)[0])
            assert portable_lib._threadpool_get_thread_count() == threads
            np.testing.assert_allclose(image, expected, atol=1e-5)


def test_outputs_are_copies(tiny: Path) -> None:
    runner = ExecuTorchFormat().open(tiny, 1)
    first, second = examples(TINY)
    image, _ = runner(*first)
    kept = image.copy()
    runner(*second)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "spoilt"])
def test_damaged_files_are_refused(tiny: Path, tmp_path: Path, damage: str) -> None:
    content, junk = tiny.read_bytes(), np.random.default_rng(0).bytes(4000)
    damaged = {
        "empty": b"",
        "junk": junk,
        "cut": content[: len(content) // 2],
        "spoilt": content[:64] + junk[: len(content) - 128] + content[-64:],
    }
    (tmp_path / "odd.pte").write_bytes(damaged[damage])
    with raises(DamagedFile, path=tmp_path / "odd.pte"):
        ExecuTorchFormat().open(tmp_path / "odd.pte", 1)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with raises(FileError, path=tmp_path / "missing.pte"):
        ExecuTorchFormat().open(tmp_path / "missing.pte", 1)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with raises(MissingExtra, extra="executorch"):
        ExecuTorchFormat()


def test_the_runtime_is_named() -> None:
    assert ExecuTorchFormat().runtime().startswith("ExecuTorch ")
