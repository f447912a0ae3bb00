import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from idn.errors import DamagedFile, UserError
from idn.export.formats.pt2 import TorchExportFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import student
from tests.raising import raises

FORMAT = TorchExportFormat()


@pytest.fixture(scope="module")
def file(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "new" / "swap.pt2"
    FORMAT.write(network, path, "fp32", [])
    return path


def error(network: Network, path: Path, *shapes: tuple[int, ...]) -> float:
    draw = np.random.default_rng(0)
    given = shapes or tuple(value.shape for value in network.inputs.values())
    examples = [tuple(draw.random(shape, dtype=np.float32) for shape in given)]
    return compare(network, FORMAT.open(path, 1), examples, reference(network, examples)).max_abs


def changed(file: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive, after `change` of its entries, whose names come without the folder at their start."""
    with zipfile.ZipFile(file) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


def test_every_network_computes_what_pytorch_computes(network: Network, file: Path, tmp_path: Path) -> None:
    assert error(network, file) < 1e-5
    for other in dynamic(student(), 64, FORMAT.runtime_kernels):
        FORMAT.write(other, tmp_path / "other.pt2", "fp32", [])
        assert error(other, tmp_path / "other.pt2") < 1e-5


@pytest.mark.parametrize(("precision", "most"), [("fp16", 2e-3), pytest.param("bf16", 2e-2, marks=pytest.mark.slow)])
def test_half_precision_keeps_float32_at_the_boundary(
    network: Network, file: Path, tmp_path: Path, precision: str, most: float
) -> None:
    half = tmp_path / "half.pt2"
    FORMAT.write(network, half, precision, [])
    assert half.stat().st_size < file.stat().st_size - 50_000
    assert 1e-6 < error(network, half) < most
    assert FORMAT.open(half, 1)(network.inputs["target"].numpy())[0].dtype == np.float32


def test_open_dimensions(network: Network, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "open.pt2"
    TorchExportFormat(dynamic_batch=True, dynamic_size=True).write(network, path, "fp32", [])
    assert error(network, path, (1, 3, 64, 64)) < 1e-5
    assert error(network, path, (3, 3, 96, 160)) < 1e-5
    for closed, shape in ((path, (1, 3, 80, 64)), (file, (1, 3, 96, 96))):
        with pytest.raises((AssertionError, RuntimeError), match=r"Guard failed|Expected input"):
            FORMAT.open(closed, 1)(np.zeros(shape, np.float32))


def test_all_pictures_of_a_call_share_one_identity(tmp_path: Path) -> None:
    _, swap = dynamic(student(), 64, runtime_kernels=True)
    TorchExportFormat(dynamic_batch=True).write(swap, tmp_path / "swap.pt2", "fp32", [])
    target, identity = torch.rand(3, 3, 64, 64), swap.inputs["identity"]
    both = FORMAT.open(tmp_path / "swap.pt2", 1)(target.numpy(), identity.numpy())
    each = [swap.module(picture[None], identity)[0] for picture in target]
    torch.testing.assert_close(torch.from_numpy(both[0]), torch.cat(each), atol=1e-5, rtol=0)


def test_a_batch_that_the_network_cannot_leave_open(tmp_path: Path) -> None:
    _, swap = dynamic(student(), 64, runtime_kernels=True)
    with raises(UserError, "swap", "dynamic_batch"):
        TorchExportFormat(dynamic_batch=True).write(swap._replace(shared=()), tmp_path / "swap.pt2", "fp32", [])
    assert list(tmp_path.iterdir()) == []


def test_a_file_tells_nothing_of_where_it_was_made(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        program = next(archive.read(name) for name in archive.namelist() if name.endswith("models/model.json"))
        examples = next(archive.read(name) for name in archive.namelist() if "sample_inputs" in name)
    assert b".py" not in program
    assert b"idn" not in program
    assert examples == b""


def test_an_unchanged_copy_opens(network: Network, file: Path, tmp_path: Path) -> None:
    assert error(network, changed(file, tmp_path / "copy.pt2", lambda entries: None)) < 1e-5


def test_damaged_files_are_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for damaged in (b"", b"nothing of the kind", content[: len(content) // 2]):
        (tmp_path / "cut.pt2").write_bytes(damaged)
        with raises(DamagedFile, path=tmp_path / "cut.pt2"):
            FORMAT.open(tmp_path / "cut.pt2", 1)
    with raises(DamagedFile, path=tmp_path / "missing.pt2"):
        FORMAT.open(tmp_path / "missing.pt2", 1)


def test_nothing_is_left_when_writing_fails(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "save", lambda program, path: Path(path).touch() or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        FORMAT.write(network._replace(module=nn.Identity()), tmp_path / "swap.pt2", "fp32", [])
    assert list(tmp_path.iterdir()) == []
