import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor
from torch import Tensor, nn
from torch._inductor.exc import InvalidCxxCompiler

from idn.errors import DamagedFile, UserError
from idn.export.formats.aotinductor import AOTInductorFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static_graph import baked
from idn.types import Network
from tests.export.conftest import student
from tests.raising import raises

FORMAT = AOTInductorFormat()
compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here")


class Tiny(nn.Module):
    """As little as takes a picture and gives two."""

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - target, target.mean(1, keepdim=True)


TINY = Network("swap", Tiny().eval(), {"target": torch.rand(1, 3, 8, 8)}, ("image", "mask"))


def error(network: Network, path: Path, threads: int = 1) -> float:
    examples = [tuple(value.numpy() for value in network.inputs.values())]
    return compare(network, FORMAT.open(path, threads), examples, reference(network, examples)).max_abs


@pytest.mark.slow
@compiles
def test_every_network_computes_what_pytorch_computes(tmp_path: Path) -> None:
    path = tmp_path / "new" / f"any{FORMAT.suffix}"
    swap = baked(student().bake(torch.randn(1, 16), torch.rand(1, 32, 7, 7)), 64)
    for network in (swap, *dynamic(student(), 64, FORMAT.runtime_kernels)):
        FORMAT.write(network, path, "fp32", [])
        assert error(network, path) < 1e-5
        assert error(network, path, threads=2) < 1e-5
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
@compiles
def test_bf16_takes_and_gives_float32(tmp_path: Path) -> None:
    swap = baked(student().bake(torch.randn(1, 16), torch.rand(1, 32, 7, 7)), 64)
    path = tmp_path / f"swap{FORMAT.suffix}"
    FORMAT.write(swap, path, "bf16", [])
    assert 1e-5 < error(swap, path) < 2e-2
    assert FORMAT.open(path, 1)(swap.inputs["target"].numpy())[0].dtype == np.float32


@pytest.mark.slow
@compiles
def test_a_damaged_library_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"swap{FORMAT.suffix}"
    FORMAT.write(TINY, path, "fp32", [])
    assert error(TINY, path) < 1e-6
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        library = next(entry for entry in archive.infolist() if entry.filename.endswith(".so"))
    content[library.header_offset + library.file_size // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _: pytest.fail("was loaded"))
    with raises(DamagedFile, path=path):
        FORMAT.open(path, 1)


def test_without_a_compiler_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_nothing(program: object, package_path: str, inductor_configs: object) -> None:
        Path(package_path).touch()
        raise InvalidCxxCompiler

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_nothing)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with raises(UserError, "C++", "CXX"):
        FORMAT.write(TINY, tmp_path / "swap.aoti.pt2", "fp32", [])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(InvalidCxxCompiler):
        FORMAT.write(TINY, tmp_path / "swap.aoti.pt2", "fp32", [])
    assert list(tmp_path.iterdir()) == []


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "swap.aoti.pt2"
    torch.export.save(torch.export.export(TINY.module, tuple(TINY.inputs.values())), path)
    for content in (b"", b"nothing of the kind", path.read_bytes()[:1000], path.read_bytes()):
        path.write_bytes(content)
        with raises(DamagedFile, path=path):
            FORMAT.open(path, 1)
    with raises(DamagedFile, path=tmp_path / "missing.aoti.pt2"):
        FORMAT.open(tmp_path / "missing.aoti.pt2", 1)
