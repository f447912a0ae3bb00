import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import DamagedFile, FileError, MissingExtra, OptionError, UserError
from idn.export.formats.coreml import CoreMLFormat, CoreMLRunner
from idn.export.parity import compare, reference
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.types import Network
from tests.export.conftest import student
from tests.raising import raises

pytest.importorskip("coremltools")
FLOAT32 = 65568
"""ArrayFeatureType.FLOAT32 of Core ML's specification."""


@pytest.fixture(scope="module")
def form() -> CoreMLFormat:
    return CoreMLFormat()


def convolve(x: Tensor, weight: Tensor, strides: list[int], pad: list[int], groups: int, **rest: Any) -> Tensor:
    assert set(rest["dilations"]) == {1} and pad[::2] == pad[1::2]
    return F.conv2d(x, weight, rest.get("bias"), strides, pad[::2] if rest["pad_type"] == "custom" else 0, 1, groups)


def upsample(x: Tensor, scale_factor_height: float, scale_factor_width: float, align_corners: bool, **_: Any) -> Tensor:
    size = [int(x.shape[2] * scale_factor_height), int(x.shape[3] * scale_factor_width)]
    return F.interpolate(x, size, mode="bilinear", align_corners=bool(align_corners))


def cut(x: Tensor, begin: list[int], end: list[int], **rest: Any) -> Tensor:
    begins, ends, squeezed = (rest.get(key) or [False] * x.ndim for key in ("begin_mask", "end_mask", "squeeze_mask"))
    for axis in range(x.ndim):
        first = 0 if begins[axis] else begin[axis]
        last = first + 1 if squeezed[axis] else x.shape[axis] if ends[axis] else end[axis]
        x = x.narrow(axis, first, last - first)
    return x.squeeze([axis for axis in range(x.ndim) if squeezed[axis]])


def expand(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def restore(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    shape = [-1 if index == axis else 1 for index in range(quantized_data.ndim)]
    zero, factor = (
        torch.as_tensor(value).float().reshape(-1).expand(len(quantized_data)) for value in (zero_point, scale)
    )
    return (quantized_data.float() - zero.view(shape)) * factor.view(shape)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x,
    "concat": lambda values, axis, interleave: torch.cat(values, axis),
    "constexpr_affine_dequantize": restore,
    "conv": convolve,
    "expand_dims": expand,
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "linear": lambda x, weight, bias: F.linear(x, weight, bias),
    "mul": lambda x, y: x * y,
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, upscale_factor),
    "reshape": lambda x, shape: x.reshape(tuple(shape)),
    "rsqrt": lambda x, epsilon: (x + epsilon).rsqrt(),
    "sigmoid": lambda x: x.sigmoid(),
    "slice_by_index": cut,
    "sub": lambda x, y: x - y,
    "upsample_bilinear": upsample,
}
"""What a program may consist of, in PyTorch: constants arrive as tensors, numbers and lists of numbers."""


def plain(value: Any) -> Any:
    """A constant: an array of weights as a tensor, everything small as Python has it."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim:
        return torch.from_numpy(value.astype(np.float32))
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return torch.from_numpy(value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def interpreted(path: Path) -> Callable[..., tuple[np.ndarray, ...]]:
    """A runner of a package, operation by operation, in float32, whatever the machine."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    main = load(spec, spec.specificationVersion, model.weights_dir).functions["main"]

    def run(*inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        known = dict(zip(main.inputs, map(torch.from_numpy, inputs), strict=True))

        def value(var: Any) -> Any:
            if isinstance(var, list | tuple):
                return [value(one) for one in var]
            return known[var.name] if var.name in known else plain(var.val)

        for operation in main.operations:
            if operation.op_type != "const":
                given = {key: value(var) for key, var in operation.inputs.items() if var is not None}
                known[operation.outputs[0].name] = OPERATIONS[operation.op_type](**given)
        return tuple(known[var.name].numpy() for var in main.outputs)

    return run


class Halves(torch.nn.Module):
    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        return target / 2, target[:, :1] / 2


SMALL = Network("swap", Halves(), {"target": torch.zeros(1, 3, 64, 64)}, ("image", "mask"))


def crops() -> list[tuple[np.ndarray]]:
    return [(np.random.default_rng(seed).random((1, 3, 64, 64), dtype=np.float32),) for seed in range(2)]


@pytest.mark.parametrize(
    ("precision", "floor"), [("fp32", 110), pytest.param("fp16", 60, marks=pytest.mark.slow), ("int8", 40)]
)
def test_the_program_of_a_package_is_the_network(
    network: Network,
    form: CoreMLFormat,
    tmp_path: Path,
    precision: str,
    floor: float,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import coremltools as ct

    path = tmp_path / "new" / "swap.mlpackage"
    form.write(network, path, precision, [])
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in path.parent.iterdir()] == ["swap.mlpackage"]
    found = ct.models.MLModel(str(path), skip_model_load=True).get_spec().description
    arrays = {value.name: value.type.multiArrayType for value in (*found.input, *found.output)}
    assert {name: list(array.shape) for name, array in arrays.items()} == {
        "target": [1, 3, 64, 64],
        "image": [1, 3, 64, 64],
        "mask": [1, 1, 64, 64],
    }
    assert {array.dataType for array in arrays.values()} == {FLOAT32}
    parity = compare(network, interpreted(path), crops(), reference(network, crops()))
    assert floor < parity.psnr and (precision == "fp32" or parity.psnr < 110)
    weights = sum(p.numel() for p in network.module.parameters())
    stored = sum(p.stat().st_size for p in path.rglob("*.bin"))
    assert 0.9 < stored / weights / {"fp32": 4, "fp16": 2, "int8": 1}[precision] < 1.5


@pytest.mark.slow
def test_the_dynamic_networks_are_the_same_there(form: CoreMLFormat, tmp_path: Path) -> None:
    for network in dynamic(student(), 32, form.runtime_kernels):
        inputs = [tuple(value.numpy() for value in network.inputs.values())]
        form.write(network, tmp_path / f"{network.name}.mlpackage", "fp32", [])
        run = interpreted(tmp_path / f"{network.name}.mlpackage")
        assert compare(network, run, inputs, reference(network, inputs)).max_abs < 1e-4


def test_a_package_is_run_on_a_mac_alone(form: CoreMLFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert form.runtime() is None
    with raises(FileError, path=tmp_path / "swap.mlpackage"):
        form.open(tmp_path / "swap.mlpackage", 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert form.runtime().startswith("Core ML of macOS")
    with raises(DamagedFile, path=tmp_path / "swap.mlpackage"):
        form.open(tmp_path / "swap.mlpackage", 1)


def test_a_runner_asks_core_ml_by_name(form: CoreMLFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import coremltools as ct

    form.write(SMALL, tmp_path / "swap.mlpackage", "fp16", [])

    class Model(ct.models.MLModel):
        def __init__(self, path: str) -> None:
            super().__init__(path, skip_model_load=True)

        def predict(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert list(data) == ["target"]
            return {"mask": data["target"][:, :1].astype(np.float16), "image": data["target"]}

    monkeypatch.setattr(ct.models, "MLModel", Model)
    (given,) = crops()[0]
    image, mask = CoreMLRunner(tmp_path / "swap.mlpackage")(given)
    np.testing.assert_array_equal(image, given)
    np.testing.assert_allclose(mask, given[:, :1], atol=1e-3)
    assert mask.dtype == np.float32 and not np.shares_memory(image, given)


def test_a_package_is_replaced_whole_or_not_at_all(form: CoreMLFormat, tmp_path: Path) -> None:
    path = tmp_path / "swap.mlpackage"
    path.mkdir()
    (path / "before").touch()

    class Odd(torch.nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.linalg.svdvals(x[0, 0])[None],)

    with raises(UserError, "format coreml", "odd", "svd"):
        form.write(Network("odd", Odd(), {"x": torch.rand(1, 1, 4, 4)}, ("y",)), path, "fp32", [])
    assert [p.name for p in tmp_path.rglob("*")] == ["swap.mlpackage", "before"]
    form.write(SMALL, path, "fp32", [])
    assert not (path / "before").exists() and (path / "Manifest.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["swap.mlpackage"]


def test_wrong_options_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with raises(OptionError, "iOS16", "macOS13", argument="minimum_target", value="iOS9"):
        CoreMLFormat("iOS9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with raises(MissingExtra, extra="coreml"):
        CoreMLFormat()
