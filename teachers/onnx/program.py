"""One ONNX file, run by ONNX Runtime on torch tensors, on the device where they lie."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idn.errors import FileError, ForeignFile, MissingExtra, OptionError
from idn.files.onnx_graph import read_onnx

_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_NUMPY = {torch.float32: np.float32, torch.float16: np.float16}
_CPU = torch.device("cpu")
_ON_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_TOO_NEW = ("Unsupported model IR version", "official released onnx opset")
"""Words of ONNX Runtime about files that are newer than itself."""


class Port(NamedTuple):
    """An input or output. A dimension that the file leaves open is None; the shape is empty if it says nothing."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype


class OnnxProgram:
    """The graph of a file, ready to run.

    path: an ONNX file with all its weights inside. providers: what ONNX Runtime shall run on, by its own names, best
    first; None for CUDA where the tensors lie on a CUDA device and ONNX Runtime can use it, and the CPU otherwise.

    On a CUDA device the graph reads and writes the memory of the tensors, nothing passes through the host; where that
    is impossible one warning says that the CPU works instead. The CPU takes as many threads as torch has at that time.
    Copies, and programs that were pickled for another process, open the file again when they first run: it must still
    be there. A forked process must not use the program of its parent.

    inputs, outputs: by name, in the order of the file; outputs of other types than float32 and float16 are left out.

    Raises UserError for a missing, damaged or foreign file, one with weights in other files, one that is newer than
    ONNX Runtime or that it cannot run for another reason, inputs of other types than float32 and float16, an unknown
    provider, and a missing `onnx` extra.
    """

    def __init__(self, path: str | Path, providers: Sequence[str] | None = None) -> None:
        self.path = Path(path).resolve()
        self.providers = None if providers is None else list(providers)
        read_onnx(self.path)
        known = _runtime().get_available_providers()
        for name in self.providers or ():
            if name not in known:
                raise OptionError("providers", name, f"is not in this ONNX Runtime: choose from {', '.join(known)}")
        self._cuda = any(name in known for name in self._preferred if name in _ON_CUDA)
        self._session: Any = None
        self._place = _CPU
        session, _ = self._session_for(_CPU)
        if strange := [item for item in session.get_inputs() if item.type not in _DTYPES]:
            raise FileError(path, f"takes {strange[0].name} as {strange[0].type}: only float32 and float16 can be fed")
        self.inputs = {item.name: _port(item) for item in session.get_inputs()}
        self.outputs = {item.name: _port(item) for item in session.get_outputs() if item.type in _DTYPES}

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session, which cannot be copied."""
        return self.__dict__ | {"_session": None, "_place": _CPU}

    def run(self, feeds: Mapping[str, Tensor], output: str, shape: tuple[int, ...]) -> Tensor:
        """The named output for tensors given by input name, in the dtype of the file, on the device of the tensors.

        shape: of the output. Raises RuntimeError if the file cannot work on these shapes, or answers in another.
        """
        device = next(iter(feeds.values())).device
        session, place = self._session_for(device)
        given = {name: tensor.to(place, self.inputs[name].dtype).contiguous() for name, tensor in feeds.items()}
        answer = torch.empty(shape, dtype=self.outputs[output].dtype, device=place)
        binding, where = session.io_binding(), (place.type, place.index or 0)
        for name, tensor in given.items():
            binding.bind_input(name, *where, _NUMPY[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output(output, *where, _NUMPY[answer.dtype], shape, answer.data_ptr())
        if place.type == "cuda":
            torch.cuda.current_stream(place).synchronize()  # ONNX Runtime works on a stream of its own
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return answer.to(device)

    @property
    def _preferred(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.providers is None else self.providers

    def _session_for(self, device: torch.device) -> tuple[Any, torch.device]:
        """The session for tensors on a device, and where it wants them: there, or on the CPU."""
        place = device if device.type == "cuda" and self._cuda else _CPU
        if self._session is None or self._place != place:
            self._session, self._place = _open(self.path, self._wanted(place)), place
            if place.type == "cuda" and not set(self._session.get_providers()) & set(_ON_CUDA):
                self._cuda = False  # it is there, but its libraries are not: ONNX Runtime took the next provider
                return self._session_for(device)
        if device.type != "cpu" and place is _CPU and self.providers is None:
            warnings.warn(
                f"ONNX Runtime cannot use {device.type} here, so ONNX files run on the CPU: for NVIDIA cards, "
                "install onnxruntime-gpu instead of onnxruntime",
                stacklevel=2,
            )
        return self._session, place

    def _wanted(self, place: torch.device) -> list[str | tuple[str, dict[str, int]]]:
        """The providers for a place, those for CUDA with the number of the card."""
        if place.type == "cuda":
            return [(name, {"device_id": place.index or 0}) if name in _ON_CUDA else name for name in self._preferred]
        return ["CPUExecutionProvider"] if self.providers is None else list(self.providers)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra("ONNX files need", "onnx") from error
    return onnxruntime


def _open(path: Path, providers: list[str | tuple[str, dict[str, int]]]) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are torch's between two runs
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises classes of its own, which differ between its versions
        said = str(error)
        if any(words in said for words in _TOO_NEW):
            raise ForeignFile(
                path,
                f"is newer than ONNX Runtime {runtime.__version__}: update it with "
                "`pip install -U onnxruntime`, or export the file for an older opset and IR version",
            ) from error
        reason = said.split("failed:", 1)[-1].strip().splitlines() or [type(error).__name__]
        raise FileError(path, f"cannot be run by ONNX Runtime ({reason[0][:200]}): get or export it again") from error


def _port(item: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in item.shape or ())
    return Port(item.name, shape, _DTYPES[item.type])
