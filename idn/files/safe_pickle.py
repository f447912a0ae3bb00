"""Tensors out of pickles, without running them: Paddle parameters, and PyTorch files that hold whole modules.

A pickle is a program. The readers here let it name a few harmless things, each replaced by a stand-in of our own that
only keeps its arguments. Nothing that a file names is ever imported, and everything else of Python's standard library
is refused.
"""

import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from idn.errors import FileError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First object in a PyTorch file from before the zip format."""
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
_BUILTINS = {"dict": dict, "set": set, "tuple": tuple, "list": list}


class Stub:
    """Stands in for an object of a class that is not available. It keeps its state and does nothing."""

    state: object = None

    def __init__(self, *_args: object) -> None:
        """Arguments are dropped."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, _key: object, _value: object) -> None:
        """Entries of dictionary-like classes are dropped."""

    def append(self, _item: object) -> None:
        """Items of list-like classes are dropped."""


class _Dtype:
    def __init__(self, code: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"array of type {self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    def __init__(self) -> None:
        self.tensor = torch.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        flat = np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, dtype.numpy())
        array = flat.reshape(shape, order="F" if fortran else "C")
        self.tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


class _Restricted(pickle.Unpickler):
    """Answers every global with something of ours, or refuses it with a UserError."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("builtins", "__builtin__") and name in _BUILTINS:
            return _BUILTINS[name]
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        return self.answer(module, name)

    def answer(self, module: str, name: str) -> object:
        raise FileError(self.path, f"asks for {module}.{name}, which no file of weights needs: do not trust it")

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"text encoded as {encoding!r}")
        return text.encode("latin-1")


class _PaddleUnpickler(_Restricted):
    def answer(self, module: str, name: str) -> object:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return self._reconstruct
        if (module, name) == ("numpy", "dtype"):
            return self._dtype
        if (module, name) == ("numpy", "ndarray"):
            return "numpy.ndarray"
        return super().answer(module, name)

    def _reconstruct(self, _kind: str, _shape: tuple[int, ...], _code: bytes) -> _Array:
        return _Array()

    def _dtype(self, code: str, _align: bool = False, _copy: bool = True) -> _Dtype:
        return _Dtype(code)


def read_paddle(path: Path) -> object:
    """Load a .pdparams file (one bare pickle, protocols 2 to 4), arrays as tensors.

    Returns what was saved: a dict of tensors, or dicts of them beside other values. Raises UserError for a global that
    such a file does not need; a damaged file raises whatever reading it raises.
    """
    with path.open("rb") as file:
        return _plain(_PaddleUnpickler(file, path).load())


def _plain(value: object) -> object:
    """Unwrap arrays, named arrays, and the table of names that Paddle adds."""
    if isinstance(value, _Array):
        return value.tensor
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], _Array):
        return value[1].tensor
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "StructuredToParameterName@@"}
    return value


class _ModuleUnpickler(_Restricted):
    """Rebuilds tensors; every class from outside the standard library becomes a Stub."""

    def __init__(self, file: IO[bytes], path: Path, archive: zipfile.ZipFile | None = None, root: str = "") -> None:
        super().__init__(file, path)
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def answer(self, module: str, name: str) -> object:
        rebuild = {
            "_rebuild_tensor": self._tensor,
            "_rebuild_tensor_v2": self._tensor,
            "_rebuild_parameter": self._parameter,
        }
        if module == "torch._utils" and name in rebuild:
            return rebuild[name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        top = module.partition(".")[0]
        wanted = (module, name) == ("collections", "defaultdict")
        if not wanted and (top in sys.stdlib_module_names or top in ("__builtin__", "copy_reg")):
            return super().answer(module, name)
        return type(name, (Stub,), {})

    def _tensor(self, storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
        return storage.as_strided(size, stride, offset)

    def _parameter(self, data: Tensor, *_: object) -> Tensor:
        return data

    def persistent_load(self, pid: tuple[Any, ...]) -> object:
        if pid[0] == "module":
            return pid[1]
        _, dtype, key, _, numel, *view = pid
        if pid[0] != "storage" or not isinstance(dtype, torch.dtype) or any(v is not None for v in view):
            raise ValueError(f"storage {pid!r}")
        if key not in self.storages:
            self.storages[key] = self._storage(key, dtype, numel)
        return self.storages[key]

    def _storage(self, key: str, dtype: torch.dtype, numel: int) -> Tensor:
        if numel * dtype.itemsize > self.path.stat().st_size:
            raise EOFError
        if self.archive is None:
            return torch.empty(numel, dtype=dtype)
        raw = bytearray(self.archive.read(f"{self.root}/data/{key}"))
        return torch.frombuffer(raw, dtype=dtype, count=numel) if numel else torch.empty(0, dtype=dtype)


def read_torch_modules(path: Path) -> object:
    """Load a PyTorch file that pickles whole modules, zip or older format, on the CPU.

    Returns what was saved, with modules replaced by flat dicts of their tensors. Raises UserError for a global of the
    standard library; a damaged file raises whatever reading it raises.
    """
    if not zipfile.is_zipfile(path):
        return _state(_read_legacy(path))
    with zipfile.ZipFile(path) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("compressed entries")
        with archive.open(entry) as file:
            root = entry.filename.removesuffix("/data.pkl")
            return _state(_ModuleUnpickler(file, path, archive, root).load())


def _read_legacy(path: Path) -> object:
    with path.open("rb") as file:
        if _Restricted(file, path).load() != LEGACY_MAGIC:
            raise ValueError("no PyTorch file")
        for _ in range(2):
            _Restricted(file, path).load()
        reader = _ModuleUnpickler(file, path)
        value = reader.load()
        for key in _Restricted(file, path).load():
            (numel,) = struct.unpack("<q", file.read(8))
            storage = reader.storages[key]
            raw = file.read(numel * storage.element_size())
            storage.copy_(torch.frombuffer(bytearray(raw), dtype=storage.dtype, count=numel))
    return value


def _state(value: object) -> object:
    """Replace stubs of modules by their flat state dicts, at the top and one level below."""
    if isinstance(value, Stub):
        return dict(_walk(value, ""))
    if isinstance(value, dict):
        return {key: dict(_walk(item, "")) if isinstance(item, Stub) else item for key, item in value.items()}
    return value


def _walk(module: Stub, prefix: str) -> list[tuple[str, Tensor]]:
    """(name, tensor) of a module's parameters and buffers, depth first; DataParallel is looked through."""
    state = module.state if isinstance(module.state, dict) else {}
    children = state.get("_modules") or {}
    wrapped = children.get("module") if type(module).__name__.endswith("DataParallel") else None
    if isinstance(wrapped, Stub):
        return _walk(wrapped, prefix)
    unsaved = state.get("_non_persistent_buffers_set") or ()
    own = {**(state.get("_parameters") or {}), **(state.get("_buffers") or {})}
    found = [(f"{prefix}{name}", t) for name, t in own.items() if isinstance(t, Tensor) and name not in unsaved]
    for name, child in children.items():
        if isinstance(child, Stub):
            found += _walk(child, f"{prefix}{name}.")
    return found
