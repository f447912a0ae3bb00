"""Reading and writing files of tensors. A file is recognised by its content and never executed."""

import pickle
import zipfile
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idn.errors import DamagedFile, ForeignFile, MissingFile, UnfitTensors, UserError
from idn.files.atomic import atomic_write
from idn.files.remote import local
from idn.files.safe_pickle import read_paddle, read_torch_modules

_LEGACY_TORCH = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_NETWORKS = ("state_dict", "model", "net")
"""Entries of a checkpoint that hold the network, in the order in which they are preferred."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel, DistributedDataParallel and torch.compile write before every key."""
_COUNTER = "num_batches_tracked"
_SHOWN = 3


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a network, on the CPU, from a file of any of these kinds:

    - safetensors;
    - PyTorch, zip or older format: a state dict, a checkpoint with an entry "state_dict" (as Lightning's), "model" or
      "net", or a pickled module, whose classes need not exist here;
    - Paddle .pdparams, pickle protocols 2 to 4, also nested as {"net": ..., "epoch": ...}.

    What DataParallel or torch.compile wrote before every key is left out; for other prefixes, see `strip_prefix`.
    path: also a URL, see `idn.files.remote`.
    Raises UserError if the file is missing, empty, cut short, of another kind, holds no tensors, or asks for anything
    that tensors do not need.
    """
    path = local(path)
    reader = _reader(path)
    try:
        value = reader(path)
    except UserError:
        raise
    except MemoryError as error:  # a damaged length asks for more than there is, too
        raise DamagedFile(path, "is damaged, or needs more memory than there is: get it again") from error
    except Exception as error:  # what a damaged file makes its reader raise can be almost anything
        detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "maximum supported version" in str(error):
            newer = f"was written by a newer PyTorch ({torch.__version__} is here): update it"
            raise ForeignFile(path, newer) from error
        raise DamagedFile(path, f"is damaged or cut short ({detail}): get it again") from error
    tensors = _network(value, path)
    while wrapper := next((name for name in _WRAPPERS if all(key.startswith(name) for key in tensors)), None):
        tensors = {key.removeprefix(wrapper): tensor for key, tensor in tensors.items()}
    return tensors


def strip_prefix(tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors without the prefix that stands before every key, as "model." in a checkpoint of Lightning.

    names: of tensors that the wanted network has. The shortest prefix of whole words after which one of them is found
    goes; without any, or where not every key has it, the tensors come back as they are.
    """
    known, first = set(names), next(iter(tensors), "")
    words = first.split(".")
    for count in range(len(words)):
        prefix = "".join(f"{word}." for word in words[:count])
        if not all(key.startswith(prefix) for key in tensors):
            break
        if any(key.removeprefix(prefix) in known for key in tensors):
            return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def _reader(path: Path) -> Callable[[Path], object]:
    if not path.is_file():
        raise MissingFile(path, "is not a file: check the path")
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise DamagedFile(path, "is empty: get it again")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return load_file
    if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and _LEGACY_TORCH in head[:32]):
        return _read_torch
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        return read_paddle
    raise ForeignFile(path, _describe(head))


def _describe(head: bytes) -> str:
    """What a file is that holds no readable tensors, and what to do about it."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not weights: download the file itself"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not weights: run `git lfs pull` or download the file itself"
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it and choose the file inside"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b":", b"B"):
        return "is an ONNX graph, not weights: use an adapter that runs ONNX"
    return "is no file of weights: choose a safetensors, PyTorch or Paddle file"


def _read_torch(path: Path) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ForeignFile(path, "is a TorchScript archive: choose a file with the state dict")
    try:
        with path.open("rb") as file:  # by its name, PyTorch would take it for safetensors whatever it holds
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return read_torch_modules(path)


def _network(value: object, path: Path) -> dict[str, Tensor]:
    """The tensors of the one network in what a file holds."""
    entries = value if isinstance(value, dict) else {}
    nested = {str(key): _tensors(item) for key, item in entries.items()}
    for name in _NETWORKS:
        if nested.get(name):
            return nested[name]
    if flat := _tensors(entries):
        return flat
    networks = {key: tensors for key, tensors in nested.items() if tensors}
    if not networks:
        raise ForeignFile(path, "holds no named tensors: choose a file with the weights of a network")
    if len(networks) > 1:
        raise ForeignFile(path, f"holds several networks ({_some(networks)}): save the wanted one on its own")
    return next(iter(networks.values()))


def _tensors(value: object) -> dict[str, Tensor]:
    entries = value.items() if isinstance(value, dict) else ()
    return {key: item for key, item in entries if isinstance(key, str) and isinstance(item, Tensor)}


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty if it has none or is a file of another kind.

    path: also a URL. Raises UserError if the file is missing, empty, or safetensors cut short.
    """
    path = local(path)
    if _reader(path) is not load_file:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise DamagedFile(path, f"is damaged or cut short ({error}): get it again") from error


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file and its folder, all of it or nothing."""
    with atomic_write(Path(path)) as draft:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, draft, metadata)


class Difference(NamedTuple):
    """How the tensors of a file differ from those that a network has."""

    missing: list[str]
    extra: list[str]
    misshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Shape in the file, and in the network."""

    @classmethod
    def between(
        cls, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], optional: Container[str] = ()
    ) -> "Difference":
        """optional: names that may be missing."""
        missing = [key for key in expected if key not in tensors and key not in optional]
        extra = [key for key in tensors if key not in expected]
        shapes = {key: (tuple(tensors[key].shape), tuple(expected[key].shape)) for key in expected if key in tensors}
        return cls(missing, extra, {key: pair for key, pair in shapes.items() if pair[0] != pair[1]})

    def __str__(self) -> str:
        """Counts, and the first names of each kind."""
        compared = ["{}: file {}, network {}".format(key, *pair) for key, pair in self.misshaped.items()]
        kinds = {"missing": self.missing, "extra": self.extra, "mis-shaped": compared}
        return "; ".join(f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in kinds.items() if keys)


def load_strict(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Copy `tensors` into the parameters and buffers of `module`. `what` names their origin in errors.

    A prefix before every key is no difference, see `strip_prefix`. Raises UnfitTensors, and changes nothing, if a key
    is missing, unknown or of another shape. BatchNorm's counter "num_batches_tracked" alone may be missing: older
    PyTorch and Paddle do not write it. Raises UserError for numbers that are not finite and for variances below 0.
    """
    expected = module.state_dict()
    tensors = strip_prefix(tensors, expected)
    if not tensors.keys() & expected.keys():  # the network itself has such a word before every key
        for wrapper in _WRAPPERS:
            wrapped = {f"{wrapper}{key}": tensor for key, tensor in tensors.items()}
            tensors = wrapped if wrapped.keys() & expected.keys() else tensors
    optional = {key for key in expected if key.endswith(f".{_COUNTER}") or key == _COUNTER}
    unfit = Difference.between(tensors, expected, optional)
    if any(unfit):
        foreign = len(tensors.keys() & expected.keys()) < len(expected) / 2
        hint = "the file seems to hold another network" if foreign else "choose the file that belongs to this network"
        sentence = f"{what} does not fit {type(module).__name__}: {unfit}: {hint}"
        raise UnfitTensors(sentence, unfit.missing, unfit.extra, list(unfit.misshaped))
    if broken := [key for key, tensor in tensors.items() if _broken(key, tensor)]:
        raise UserError(f"{what} is damaged: no network has such numbers ({_some(broken)}): get it again")
    module.load_state_dict({**{key: expected[key] for key in optional}, **tensors})


def _broken(key: str, tensor: Tensor) -> bool:
    """Whether there are numbers that are not finite, or variances below 0."""
    if not tensor.is_floating_point():
        return False
    return not bool(tensor.isfinite().all()) or (key.endswith("running_var") and bool((tensor < 0).any()))


def _some(names: Iterable[str]) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
