"""ONNX files, written by PyTorch's exporter and run by ONNX Runtime."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

import idn
from idn.errors import DamagedFile, MissingFile, OptionError, UserError
from idn.export.contract import Arrays, Precision, require
from idn.export.suppress_output import quiet
from idn.files.atomic import atomic_write
from idn.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = range(18, 24)
"""Operator sets that PyTorch's exporter writes. It starts from the oldest."""
FEW = 16
"""Convolutions with fewer output channels stay in float32 in int8 files: they hold next to no weights, and what they
round is seen in the picture at once."""

LARGE = 1024
"""Numbers of a kernel from which int8 files keep it in eight bits where maps stay in float32."""


@dataclass(frozen=True)
class OnnxFormat:
    """One file per network; its initializers carry the names of the module's state dict.

    opset: ONNX operator set, one of `OPSETS`.
    dynamic_batch: any number of pictures per call; they share the inputs that the network calls shared.
    dynamic_size: any height and width of the target that the network can work on.
    Raises OptionError for another operator set, UserError if the extra is not installed.

    Precision fp16 computes in half precision; int8 quantises the convolutions (weights per output channel) and leaves
    the rest in float32. Inputs and outputs are float32 in every file.
    """

    opset: int = OPSETS[0]
    dynamic_batch: bool = False
    dynamic_size: bool = False

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    layout: ClassVar[Literal["NCHW"]] = "NCHW"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    runtime_kernels: ClassVar[bool] = True
    own_process: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise OptionError("opset", self.opset, f"is not supported: choose {OPSETS[0]} to {OPSETS[-1]}")
        require(self.name, "onnx", "onnxruntime", "onnxscript")

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return precision

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """See `Format`. The same network gives the same bytes."""
        import onnx

        with quiet():
            model = self._export(network)
            if precision == "fp16":
                model = _halve(model)
            elif precision == "int8":
                model = _quantise(model, network, calibration)
        _tidy(model)
        onnx.checker.check_model(model, full_check=True)
        save(model, path)

    def _export(self, network: Network) -> "ModelProto":
        try:
            written = torch.onnx.export(
                self._trace(network),
                dynamo=True,
                opset_version=self.opset,
                input_names=list(network.inputs),
                output_names=list(network.outputs),
                verbose=False,
            )
        except RuntimeError as error:  # the base of what tracer and exporter raise
            reason = str(error).strip().splitlines()[0][:160]
            raise UserError(f"{network.name} cannot be written as ONNX with these options: {reason}") from error
        model = written.model_proto
        _name_dimensions(model, self._dimensions(network))
        return model

    def _trace(self, network: Network) -> ExportedProgram:
        """The graph of the network, with the dimensions that stay open as symbols."""
        dimensions, stride = self._dimensions(network), network.stride or 1
        rows, columns = Dim("rows"), Dim("columns")
        sides = (rows, columns) if stride == 1 else (stride * rows, stride * columns)
        symbols = {"batch": Dim("batch"), "height": sides[0], "width": sides[1]}
        shapes = tuple({axis: symbols[name] for axis, name in dimensions[key].items()} for key in network.inputs)
        # a batch of one would be taken for a constant
        examples = (x.repeat(2, *[1] * (x.ndim - 1)) if 0 in dimensions[k] else x for k, x in network.inputs.items())
        return torch.export.export(network.module, tuple(examples), dynamic_shapes=shapes, strict=False)

    def _dimensions(self, network: Network) -> dict[str, dict[int, str]]:
        """Name of every open dimension, by input and axis."""
        batch = {0: "batch"} if self.dynamic_batch else {}
        sides = {2: "height", 3: "width"} if self.dynamic_size and network.stride else {}
        found = {name: {} if name in network.shared else batch for name in network.inputs}
        return {name: axes | (sides if name == "target" else {}) for name, axes in found.items()}

    def open(self, path: Path, threads: int) -> "OnnxRunner":
        """See `Format`. Runs on the CPU."""
        import onnxruntime

        if not path.is_file():
            raise MissingFile(path, "is not a file: check the path")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each kind of damage has a class of its own, with no base but this
            raise DamagedFile(
                path, "is no ONNX file that ONNX Runtime can run, or it is damaged: export again"
            ) from error
        return OnnxRunner(session)

    def runtime(self) -> str:
        """See `Format`."""
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"


class OnnxRunner:
    """A session of ONNX Runtime as a `Runner`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [value.name for value in session.get_inputs()]

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """See `Runner`."""
        return tuple(self._session.run(None, dict(zip(self._names, inputs, strict=True))))


def _name_dimensions(model: "ModelProto", names: dict[str, dict[int, str]]) -> None:
    """Give open dimensions the names of `names` in place of the exporter's symbols, in inputs and outputs."""
    renamed = {}
    for value in model.graph.input:
        for axis, name in names[value.name].items():
            renamed[value.type.tensor_type.shape.dim[axis].dim_param] = name
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]


def _halve(model: "ModelProto") -> "ModelProto":
    """Weights and computation in half precision."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halved = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    halved.topological_sort(is_deterministic=True)  # the converter appends its casts at the end
    return halved.model


def _quantise(model: "ModelProto", network: Network, calibration: Sequence[Arrays]) -> "ModelProto":
    """Static quantisation of the convolutions, in the form of quantise-dequantise pairs around each."""
    import onnx
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([dict(zip(network.inputs, arrays, strict=True)) for arrays in calibration])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._feeds, None)

    spared = _sensitive(model, network.delicate)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "quantised.onnx")
        q.quantize_static(
            onnx.shape_inference.infer_shapes(model),
            path,
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=spared,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod.MinMax,  # percentiles gain 1 dB and keep every map of every example
        )
        quantised = onnx.load(path)
    _unround(quantised, set(spared))
    _shrink(quantised, set(spared))
    return quantised


def _unround(model: "ModelProto", spared: set[str]) -> None:
    """Let the convolutions of these names read maps before they are rounded for others who read them, too."""
    maker = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        rounded = maker.get(node.input[0]) if node.name in spared else None
        if rounded is not None and rounded.op_type == "DequantizeLinear":
            node.input[0] = maker[rounded.input[0]].input[0]


def _shrink(model: "ModelProto", spared: set[str]) -> None:
    """Keep the larger kernels of the convolutions of these names in eight bits per output channel, too.

    They are computed with in float32, and their rounding is far below what that of maps would be.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [node for node in model.graph.node if node.name in spared]:
        if (tensor := stored.get(node.input[1])) is None or np.prod(tensor.dims) < LARGE:
            continue
        kernel = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(kernel).max((1, 2, 3), keepdims=True) / 127, 1e-12).astype(np.float32)
        whole = np.rint(kernel / scale).astype(np.int8)
        small, number, factor = (f"{tensor.name}_{part}" for part in ("quantized", "number", "scale"))
        model.graph.initializer.extend(map(numpy_helper.from_array, (whole, scale), (small, factor)))
        model.graph.initializer.remove(tensor)
        times = helper.make_node("Mul", [number, factor], [tensor.name], f"{tensor.name}_restored")
        # ONNX Runtime leaves DequantizeLinear alone, and computes these two once
        model.graph.node.insert(0, times)
        model.graph.node.insert(0, helper.make_node("Cast", [small], [number], number, to=TensorProto.FLOAT))


def _sensitive(model: "ModelProto", delicate: Sequence[str]) -> list[str]:
    """Names of the convolutions that int8 leaves alone.

    Those of few channels, those whose kernels are an input, and all that the outputs `delicate` hang on.
    """
    channels = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    wanted, spared = set(delicate), []
    for node in reversed(model.graph.node):  # in topological order, as ONNX demands
        if hangs := not wanted.isdisjoint(node.output):
            wanted.update(node.input)
        if node.op_type == "Conv" and (hangs or channels.get(node.input[1], 0) < FEW):
            spared.append(node.name)
    return spared


def _tidy(model: "ModelProto") -> None:
    """Say who made the file, and drop what only tells how and where: stack traces, paths, inferred shapes."""
    graph = model.graph
    model.producer_name, model.producer_version = "idn-distill", idn.__version__
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def save(model: "ModelProto", path: Path) -> None:
    """Write `model` and its folder, all of it or nothing."""
    with atomic_write(path) as draft:
        draft.write_bytes(model.SerializeToString(deterministic=True))
