"""Another identity in an ONNX file that exists already: nothing is traced, so it takes the time of a copy."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from idn.errors import FileError, ForeignFile, UnfitTensors
from idn.export.contract import Arrays, Precision, Runner
from idn.export.formats.onnx import OnnxFormat, save
from idn.files.onnx_graph import read_onnx
from idn.types import Network


class PreparedOnnx:
    """A "swap" file of one baked identity, fp32 or fp16, that `OnnxFormat` wrote.

    Raises UserError if the file is missing or damaged, is no such file, is quantised, or the extra is not installed.
    """

    def __init__(self, path: Path) -> None:
        graph = read_onnx(path)
        import onnx

        if [(value.name, len(value.shape)) for value in graph.inputs] != [("target", 4)]:
            names = ", ".join(value.name for value in graph.inputs)
            raise ForeignFile(path, f"takes {names}, not a target alone: prepare a swap.onnx of one identity")
        if any(node.kind == "DequantizeLinear" for node in graph.nodes):
            raise ForeignFile(path, "is quantised for its own identity: prepare an fp32 or fp16 file")
        sides = graph.inputs[0].shape[2:]
        self.size: int | None = sides[0] if sides[0] == sides[1] else None
        """Side of its targets in pixels; None if the file leaves it open."""
        self._path = path
        self._model = onnx.load(path)
        kinds = {tensor.data_type for tensor in self._model.graph.initializer if len(tensor.dims) == 4}
        self.precision: Precision = "fp16" if kinds == {onnx.TensorProto.FLOAT16} else "fp32"
        """What the weights are kept in."""

    def write(self, static: nn.Module, out: Path) -> None:
        """Write the file with the weights of `static` into `out`, all of it or nothing.

        static: made like the module that the file was exported from, of a student of the same width. The graph stays:
        what comes out equals a new export. Raises UserError, and writes nothing, if the weights do not fit the file.
        """
        from onnx import helper, numpy_helper

        tensors = {name: value.detach().numpy() for name, value in static.state_dict().items()}
        self._check(tensors)
        model = type(self._model)()
        model.CopyFrom(self._model)
        for initializer in model.graph.initializer:
            if initializer.name in tensors:
                kept = helper.tensor_dtype_to_np_dtype(initializer.data_type)
                initializer.CopyFrom(numpy_helper.from_array(tensors[initializer.name].astype(kept), initializer.name))
        save(model, out)

    def _check(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        """Raise UserError unless every weight has a place of its own in the file, and every place has its weight."""
        graph = self._model.graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        readers = Counter(name for node in graph.node for name in node.input)
        for name, tensor in tensors.items():
            if name not in shapes and tensor.any():  # the exporter leaves out biases that are all zero
                sentence = f"{self._path} has no weights {name}: prepare a file of a student of this width"
                raise UnfitTensors(sentence, missing=[name])
            if name in shapes and (shapes[name] != tensor.shape or readers[name] != 1):
                raise UnfitTensors(
                    f"{self._path} holds {name} as {shapes[name]} for {readers[name]} readers, not as {tensor.shape} "
                    "for one: prepare a file of a student of this width",
                    misshaped=[name],
                )
        for name, shape in shapes.items():
            if len(shape) == 4 and name not in tensors:
                sentence = f"{self._path} holds {name}, which this network has not: export the file again"
                raise UnfitTensors(sentence, extra=[name])


class PreparedFormat:
    """`OnnxFormat` for one that has exported before: `write` replaces the weights of the file at `path`.

    Raises UserError as `PreparedOnnx` does.
    """

    runtime_kernels, own_process, runs_code = True, False, False

    def __init__(self, path: Path) -> None:
        self._onnx, self._prepared = OnnxFormat(), PreparedOnnx(path)
        self.name, self.suffix, self.layout = self._onnx.name, self._onnx.suffix, self._onnx.layout
        self.precisions: tuple[Precision, ...] = (self._prepared.precision,)
        self._path = path

    def computed_in(self, per_frame: bool, precision: Precision) -> Precision:
        """As Format."""
        return self._onnx.computed_in(per_frame, precision)

    def write(self, network: Network, path: Path, precision: Precision, calibration: Sequence[Arrays]) -> None:
        """See `Format`. Raises UserError also for targets of another size."""
        side = network.inputs["target"].shape[-1]
        if self._prepared.size not in (None, side):
            raise FileError(self._path, f"is for {self._prepared.size} px: give size={self._prepared.size}")
        self._prepared.write(network.module, path)

    def open(self, path: Path, threads: int) -> Runner:
        """See `Format`."""
        return self._onnx.open(path, threads)

    def runtime(self) -> str:
        """See `Format`."""
        return self._onnx.runtime()
