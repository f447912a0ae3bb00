import json
from pathlib import Path

import pytest
import torch
from torch import nn

from idn.errors import DamagedFile, ForeignFile, UnfitTensors, UserError
from idn.export.formats.safetensors import NETWORK, SafetensorsFormat
from idn.export.parity import compare, reference
from idn.files.tensors import read_metadata, read_tensors, write_tensors
from idn.students.student_file import save_student
from idn.types import IdentityFeatures, Network
from tests.export.conftest import student
from tests.raising import raises

FORMAT = SafetensorsFormat()


def swap(width: float = 0.25, blocks: bool = True) -> Network:
    who = IdentityFeatures(torch.randn(1, 16), torch.rand(1, 32, 7, 7))
    return student(width).deployment().baked(who, 64, blocks)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "swap.safetensors"
    FORMAT.write(swap(), path, "fp32", [])
    return path


def parity(network: Network, path: Path) -> float:
    examples = [tuple(value.numpy() for value in network.inputs.values())]
    return compare(network, FORMAT.open(path, 1), examples, reference(network, examples)).max_abs


@pytest.mark.parametrize(("width", "blocks"), [(0.25, True), (0.25, False), (0.3, True), (0.45, True)])
def test_the_file_alone_makes_every_network_again(tmp_path: Path, width: float, blocks: bool) -> None:
    path = tmp_path / "any.safetensors"
    for network in (swap(width, blocks), *student(width, 1).deployment().dynamic(64, FORMAT.runtime_kernels, blocks)):
        FORMAT.write(network, path, "fp32", [])
        assert parity(network, path) < 1e-5


@pytest.mark.parametrize(("precision", "error"), [("fp16", 2e-4), ("bf16", 2e-3)])
def test_half_precision_takes_half_the_space(tmp_path: Path, file: Path, precision: str, error: float) -> None:
    half = tmp_path / "half.safetensors"
    FORMAT.write(swap(), half, precision, [])
    assert half.stat().st_size < 0.6 * file.stat().st_size
    assert 0 < parity(swap(), half) < error


def test_the_metadata_say_what_the_tensors_are(file: Path) -> None:
    facts = json.loads(read_metadata(file)[NETWORK])
    assert facts.pop("recipe") == {
        "architecture": "mobilefaceswap",
        "config": {"width": 0.25},
        "encoder": {"embedding_dim": 16, "feature_channels": 32, "feature_size": 7},
        "product": "baked",
        "size": 64,
        "blocks": True,
    }
    assert facts == {"name": "swap", "inputs": {"target": [1, 3, 64, 64]}, "outputs": ["image", "mask"]}
    assert set(read_tensors(file)) == set(swap().module.state_dict())


def test_opening_draws_no_random_numbers(file: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    FORMAT.open(file, 1)
    assert torch.equal(torch.rand(4), expected)


def test_an_encoder_cannot_be_written(tmp_path: Path) -> None:
    network = Network("encoder", nn.Identity(), {"crop": torch.zeros(1, 3, 8, 8)}, ("embedding",))
    with raises(UserError, "encoder"):
        FORMAT.write(network, tmp_path / "encoder.safetensors", "fp32", [])
    assert list(tmp_path.iterdir()) == []


def test_a_variant_that_opens_otherwise_is_not_written(tmp_path: Path) -> None:
    _, by_taps = student().deployment().dynamic(64, runtime_kernels=False)
    with raises(UserError, "swap"):
        FORMAT.write(by_taps, tmp_path / "swap.safetensors", "fp32", [])


def test_tensors_that_do_not_fit_are_named(tmp_path: Path, file: Path) -> None:
    tensors, metadata = read_tensors(file), read_metadata(file)
    first = sorted(tensors)[0]
    for change, word in (
        ({name: value for name, value in tensors.items() if name != first}, "missing"),
        (tensors | {"surplus": torch.zeros(1)}, "extra"),
        (tensors | {first: torch.zeros(2, 2)}, "misshaped"),
    ):
        write_tensors(tmp_path / "odd.safetensors", change, metadata)
        with pytest.raises(UnfitTensors) as error:
            FORMAT.open(tmp_path / "odd.safetensors", 1)
        assert getattr(error.value, word) in ([first], ["surplus"]) and "odd.safetensors" in str(error.value)


@pytest.mark.parametrize(
    "facts",
    [
        "[]",
        "{}",
        "no json",
        '{"name": "swap", "recipe": {"architecture": "other"}}',
        '{"name": "swap", "recipe": {"architecture": "mobilefaceswap", "encoder": {}, "config": {}}}',
        '{"name": "odd", "recipe": {"architecture": "mobilefaceswap", "product": "dynamic", "size": 64, "blocks": true,'
        ' "config": {"width": 0.25}, "encoder": {"embedding_dim": 16, "feature_channels": 32}}}',
    ],
)
def test_odd_metadata_are_refused(file: Path, tmp_path: Path, facts: str) -> None:
    write_tensors(tmp_path / "odd.safetensors", read_tensors(file), {NETWORK: facts})
    with raises(ForeignFile, path=tmp_path / "odd.safetensors"):
        FORMAT.open(tmp_path / "odd.safetensors", 1)


def test_files_that_are_no_export_are_refused(tmp_path: Path, file: Path) -> None:
    save_student(student(), tmp_path / "student.safetensors")
    with raises(ForeignFile, path=tmp_path / "student.safetensors"):
        FORMAT.open(tmp_path / "student.safetensors", 1)
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-100])
    with raises(DamagedFile, path=tmp_path / "cut.safetensors"):
        FORMAT.open(tmp_path / "cut.safetensors", 1)


def test_threads_are_those_asked_for_and_put_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    network = swap()
    runner = FORMAT.open(file, before + 1)
    monkeypatch.setattr(nn.Sigmoid, "forward", lambda self, x: (seen.append(torch.get_num_threads()), x.sigmoid())[1])
    image, mask = runner(network.inputs["target"].numpy())
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert image.shape == (1, 3, 64, 64)
    assert mask.shape == (1, 1, 64, 64)
    assert image.flags.c_contiguous
