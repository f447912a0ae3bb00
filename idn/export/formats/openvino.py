"""OpenVINO files, converted from PyTorch's own graph and run on the CPU."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from idn.errors import DamagedFile, MissingFile, UserError
from idn.export.contract import Arrays, Precision, require
from idn.export.formats.onnx import FEW, LARGE
from idn.export.suppress_output import quiet
from idn.files.atomic import atomic_write
from idn.types import Network

if TYPE_CHECKING:
    from openvino import Model

_PRECISION = ["idn", "precision"]
"""Where a file keeps the precision it was written in."""
_COMPUTED = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}
"""What a file of each precision is computed in. Said always: a processor that can bfloat16 takes it unasked."""


@dataclass(frozen=True)
class OpenVinoFormat:
    """Two files per network, which belong together: NAME.xml, the graph, and NAME.bin, the weights.

    Precision fp16 keeps the weights in half precision and computes in float32; bf16 keeps float32 and computes in
    bfloat16 where the processor can; int8 quantises weights and maps. Inputs and outputs are float32 in every file.
    Raises UserError if the extra is not installed.
    """

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".openvino.xml"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16", "int8")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.name, "openvino", "nncf")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return "fp32" if precision == "fp16" else precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """See `Format`. path: of the .xml; its .bin comes beside it."""
        with quiet(), _unreported():
            model = _convert(network)
            if precision == "int8":
                model = _quantise(model, network.delicate, calibration)
        _name_nodes(model, network.name)
        model.set_rt_info(precision, _PRECISION)
        _save(model, path, halved=precision == "fp16")

    def open(self, path: Path, threads: int) -> "OpenVinoRunner":
        """See `Format`. Computes in what the file was written for, in float32 if it does not say."""
        import openvino

        for part in (path, path.with_suffix(".bin")):
            if not part.is_file():
                raise MissingFile(part, "is not a file: an .xml and its .bin belong together")
        core = openvino.Core()
        try:
            model = core.read_model(path)
            precision = model.get_rt_info(_PRECISION).astype(str) if model.has_rt_info(_PRECISION) else "fp32"
            settings = {
                "INFERENCE_PRECISION_HINT": _COMPUTED[precision],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            }
            return OpenVinoRunner(core.compile_model(model, "CPU", settings))
        except (RuntimeError, KeyError) as error:
            raise DamagedFile(path, "or its .bin is damaged, or no OpenVINO file: export again") from error

    def runtime(self) -> str:
        """See `Format`."""
        import openvino

        return f"OpenVINO {openvino.__version__.split('-')[0]}"


class OpenVinoRunner:
    """A compiled model as a `Runner`."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """See `Runner`."""
        found = self._request.infer(dict(enumerate(inputs)))
        return tuple(np.array(found[index]) for index in range(self._outputs))


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Keep the converters from telling a web service of each call, which they do unless they believe to be tested."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _convert(network: Network) -> "Model":
    """The network with fixed shapes and its own names of inputs and outputs."""
    import openvino

    examples = tuple(network.inputs.values())
    try:
        program = torch.export.export(network.module, examples, strict=False)
        model = openvino.convert_model(program, input=[list(example.shape) for example in examples])
    except RuntimeError as error:  # the base of what tracer and converter raise
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(f"{network.name} cannot be written as OpenVINO: {reason}") from error
    for values, names in ((model.inputs, network.inputs), (model.outputs, network.outputs)):
        for value, name in zip(values, names, strict=True):
            value.get_tensor().set_names({name})
    return model


def _quantise(model: "Model", delicate: Sequence[str], calibration: Sequence[Arrays]) -> "Model":
    """Quantisation after training, with the ranges that the calibration inputs reach."""
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    quantised = nncf.quantize(
        model,
        nncf.Dataset(calibration, lambda arrays: dict(enumerate(arrays))),
        subset_size=len(calibration),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=_sensitive(model, delicate)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,  # means of extremes lose 5 to 7 dB
            disable_bias_correction=True,  # gains nothing here, and takes other constants for biases
        ),
    )
    _shield(quantised)
    _shrink(quantised)
    return quantised


def _shield(model: "Model") -> None:
    """Put an operation without effect behind every slice of an input.

    OpenVINO makes one split of slices, and its passes for int8 fail on a convolution that reads its kernels from that.
    """
    from openvino import opset13

    largest = float(np.finfo(np.float32).max)
    for node in model.get_ops():
        if node.get_type_name() == "Slice":
            readers = node.output(0).get_target_inputs()
            same = opset13.clamp(node.output(0), -largest, largest)
            for reader in readers:
                reader.replace_source_output(same.output(0))


def _shrink(model: "Model") -> None:
    """Keep the larger kernels that quantisation left alone in eight bits per output channel, too.

    They are computed with in float32, and their rounding is far below what that of maps would be.
    """
    from openvino import opset13

    for node in [node for node in model.get_ops() if node.get_type_name() == "Convolution"]:
        held = node.input_value(1).get_node()
        if held.get_type_name() != "Constant" or held.get_element_type().to_dtype() != np.float32:
            continue
        if (kernel := held.get_data()).size >= LARGE:
            scale = np.maximum(np.abs(kernel).max((1, 2, 3), keepdims=True) / 127, 1e-12)
            whole = opset13.constant(np.rint(kernel / scale).astype(np.int8))
            restored = opset13.multiply(opset13.convert(whole, np.float32), opset13.constant(scale))
            node.input(1).replace_source_output(restored.output(0))


def _sensitive(model: "Model", delicate: Sequence[str]) -> list[str]:
    """Names of the nodes that int8 leaves alone.

    Convolutions of few channels or whose kernels are an input, those that the outputs `delicate` hang on, and the
    products and differences of whole maps, of the blend above all.
    """
    spared = {node.get_friendly_name() for name in delicate for node in _before(model.output(name).get_node())}
    kept = []
    for node in model.get_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind in ("Convolution", "GroupConvolution"):
            few = node.get_output_shape(0)[1] < FEW
            chosen = few or name in spared or not _constant(node.input_value(1).get_node())
        else:
            chosen = kind in ("Multiply", "Subtract")
        if chosen:
            kept.append(name)
    return kept


def _before(node: Any) -> Iterator[Any]:
    """A node and all whose numbers it depends on, each once; shapes are no numbers."""
    left, seen = [node], set()
    while left:
        found = left.pop()
        if found.get_friendly_name() not in seen and found.get_type_name() != "ShapeOf":
            seen.add(found.get_friendly_name())
            left += [value.get_node() for value in found.input_values()]
            yield found


def _constant(node: Any) -> bool:
    """Whether a node depends on no input of the model."""
    return node.get_type_name() != "Parameter" and all(_constant(value.get_node()) for value in node.input_values())


def _name_nodes(model: "Model", name: str) -> None:
    """Replace names that hold a count of everything converted so far, so that a network always gives the same bytes."""
    model.set_friendly_name(name)
    for index, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() != "Parameter":
            node.set_friendly_name(f"{node.get_type_name()}_{index}")


def _save(model: "Model", path: Path, halved: bool) -> None:
    """Write the pair and its folder. The .xml, which is what gets opened, is there only while both are."""
    import openvino

    with atomic_write(path) as draft:
        openvino.save_model(model, draft, compress_to_fp16=halved)
