import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, MissingExtra, MissingFile, UserError
from idn.export.formats.ncnn import NcnnFormat
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import student
from tests.raising import raises

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_baked_network_is_the_same_there(
    network: Network, crops: list, tmp_path: Path, precision: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, form = tmp_path / "new" / "swap.param", NcnnFormat()
    form.write(network, path, precision, [])
    run = form.open(path, 2)
    parity = compare(network, run, crops, reference(network, crops))
    assert parity.max_abs <= 1e-4 if precision == "fp32" else parity.max_abs > 1e-6 and parity.psnr > 60
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in path.parent.iterdir()) == ["swap.bin", "swap.param"]
    assert run.inputs == ["target"] and run.outputs == ["image", "mask"]
    weights = sum(p.numel() for p in network.module.parameters()) * (4 if precision == "fp32" else 2)
    assert 0.95 < path.with_suffix(".bin").stat().st_size / weights < 1.1


def test_the_dynamic_networks_are_the_same_there(tmp_path: Path) -> None:
    form = NcnnFormat()
    for network in dynamic(student(), 64, form.runtime_kernels):
        inputs = [tuple(value.numpy() for value in network.inputs.values())]
        form.write(network, tmp_path / f"{network.name}.param", "fp32", [])
        run = form.open(tmp_path / f"{network.name}.param", 1)
        assert run.inputs == list(network.inputs) and run.outputs == list(network.outputs)
        assert compare(network, run, inputs, reference(network, inputs)).max_abs <= 1e-4


def test_answers_outlive_the_next_call(network: Network, crops: list, tmp_path: Path) -> None:
    form = NcnnFormat()
    form.write(network, tmp_path / "swap.param", "fp32", [])
    run = form.open(tmp_path / "swap.param", 1)
    first = run(*crops[0])
    kept = [value.copy() for value in first]
    run(*crops[1])
    for value, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(value, before)


class Swapped(nn.Module):
    """Two inputs and two outputs, both appearing in another order than they are named in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        early = self.conv(second)
        return torch.tanh(early) * first, early


def test_inputs_and_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    inputs = {"picture": torch.rand(1, 3, 4, 6), "other": torch.rand(1, 3, 4, 6)}
    network, form = Network("odd", Swapped().eval().requires_grad_(False), inputs, ("late", "early")), NcnnFormat()
    form.write(network, tmp_path / "odd.param", "fp32", [])
    run = form.open(tmp_path / "odd.param", 1)
    assert run.inputs == ["picture", "other"] and run.outputs == ["late", "early"]
    values = [tuple(value.numpy() for value in inputs.values())]
    assert compare(network, run, values, reference(network, values)).max_abs < 1e-6


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("swap.param", None),
        ("swap.bin", None),
        ("swap.param", lambda whole: b""),
        ("swap.param", lambda whole: b"<html>no layers</html>"),
        ("swap.bin", lambda whole: whole[: len(whole) // 2]),
        ("swap.bin", lambda whole: b""),
    ],
)
def test_a_damaged_network_is_named(
    network: Network, tmp_path: Path, file: str, content, capfd: pytest.CaptureFixture[str]
) -> None:
    form = NcnnFormat()
    form.write(network, tmp_path / "swap.param", "fp32", [])
    path = tmp_path / file
    path.unlink() if content is None else path.write_bytes(content(path.read_bytes()))
    with raises(MissingFile, path=path) if content is None else raises(DamagedFile, path=tmp_path / "swap.param"):
        form.open(tmp_path / "swap.param", 1)
    assert capfd.readouterr().err == ""


def test_a_failed_conversion_leaves_what_was_there(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.digamma(x),)

    (tmp_path / "odd.param").write_text("before")
    (tmp_path / "odd.bin").write_text("before")
    with raises(UserError, "format ncnn", "odd", "aten::digamma"):
        odd = Network("odd", Odd(), {"x": torch.rand(1, 1, 4, 4)}, ("y",))
        NcnnFormat().write(odd, tmp_path / "odd.param", "fp32", [])
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"odd.param": "before", "odd.bin": "before"}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with raises(MissingExtra, extra="ncnn"):
        NcnnFormat()
