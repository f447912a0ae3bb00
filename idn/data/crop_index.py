"""Index of a folder of crops, memory-mapped: names, people, landmarks, what is left out; one safetensors file.

All processes that read one file share its pages. Nothing in it is a Python object before it is asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from idn.data.alignment.manifest import KnownCrop, Settings
from idn.data.packed import NamedRuns, PackedNames, Runs
from idn.data.stable_draws import share_of
from idn.errors import DamagedFile, ForeignFile
from idn.files.photos import printable
from idn.files.tensors import write_tensors

VERSION = 1
_LEAST_SPREAD = 0.01
"""Of landmarks about their mean, as a share of the crop: from closer ones nothing can be said about the face."""
_SAID = 3
"""Left out pictures of a kind that are named."""
_NOTED = 100
"""Those that a file names."""
_CHUNK = 100_000


@dataclass(frozen=True)
class Facts:
    """What an index says of its folder in a few words."""

    settings: Settings | None
    """How `idn align` made the crops, if it did."""
    known: int
    """Photographs whose landmarks are known."""
    loose: int
    """Photographs that lie in no folder below the root."""
    left_out: dict[str, int]
    """Pictures that are not used, by kind."""
    examples: dict[str, dict[str, str]]
    """All or some of them: kind -> name -> reason."""
    others: list[str] = field(default_factory=list)
    """What else lies there, a few words each."""
    digest: str = ""
    """SHA-256 of names, landmarks and what is known of the contents."""

    def report(self) -> str:
        """What is not used and why, in one line; empty if there is nothing."""
        said = []
        for kind, count in self.left_out.items():
            named = [f"{name}: {reason}" for name, reason in islice(self.examples[kind].items(), _SAID)]
            said.append(f"{count} {kind} ({', '.join(named)}{', ...' if count > _SAID else ''})")
        return printable("; ".join(said + self.others))


@dataclass(frozen=True)
class CropIndex:
    """Photographs of a folder, by number, in order of their names.

    folders: runs of photographs, each below one folder of the root, in order of those folders' names; one that lies in
    none is a run of its own. shares, folder_shares: `share_of` each photograph and each such folder, float64.
    landmarks: (len, 5, 2) float32 in normalised coordinates of the stored crop; NaN where unknown.
    path: the file that all this is mapped from, if it is kept.
    """

    names: PackedNames
    landmarks: Tensor
    shares: np.ndarray
    folders: Runs
    folder_shares: np.ndarray
    facts: Facts
    path: Path | None = None

    def people(self, flat: bool) -> NamedRuns:
        """The photographs of everybody: every photograph is a person if `flat`, else every folder is."""
        if flat:
            numbers = np.arange(len(self.names))
            return NamedRuns(self.names, Runs(numbers, numbers + 1), folders=False)
        return NamedRuns(self.names, self.folders, folders=True)

    def people_shares(self, flat: bool) -> np.ndarray:
        """`share_of` each of these people, in their order."""
        return self.shares if flat else self.folder_shares

    def __reduce__(self) -> tuple[object, ...]:
        """For other processes: those map the same file, if there is one."""
        if self.path is not None:
            return _read_again, (self.path, self.facts.digest)
        return CropIndex, tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def write(self, path: Path, watched: Mapping[str, int], beside: Mapping[str, Tensor] | None = None) -> "CropIndex":
        """Write it, and return what `read_index` makes of that.

        watched: files and folders that must stay as they are. beside: what else the file shall hold.
        Raises OSError or SafetensorError if the disk refuses.
        """
        places = PackedNames.pack(watched)
        examples = {kind: dict(islice(named.items(), _NOTED)) for kind, named in self.facts.examples.items()}
        facts = asdict(replace(self.facts, examples=examples)) | {"version": VERSION}
        arrays = {
            "names": self.names.content,
            "name_ends": self.names.ends,
            "shares": self.shares,
            "folder_begins": self.folders.begins,
            "folder_ends": self.folders.ends,
            "folder_shares": self.folder_shares,
            "watched": places.content,
            "watched_ends": places.ends,
            "watched_changed": np.array(list(watched.values()), np.int64),
        }
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        tensors |= {"landmarks": self.landmarks, **(beside or {})}
        write_tensors(path, tensors, {"crops": json.dumps(facts)})
        return read_index(path)[0]


def pack_index(
    names: list[str],
    records: Mapping[str, KnownCrop],
    settings: Settings | None,
    left_out: dict[str, dict[str, str]],
    others: list[str],
) -> CropIndex:
    """Index of sorted names. records: what a manifest knows of some of them. left_out: kind -> name -> reason."""
    packed, landmarks = PackedNames.pack(names), torch.full((len(names), 5, 2), torch.nan)
    contents = hashlib.sha256(packed.content)
    for number, name in enumerate(names):
        if (record := records.get(name)) is None:
            continue
        contents.update(f"{number} {record.digest}\n".encode())
        if record.landmarks is not None:
            landmarks[number] = torch.frombuffer(record.landmarks, dtype=torch.float32).view(5, 2)
    known = _tell_of_the_face(landmarks)
    contents.update(landmarks.numpy())
    folders = _folders(names)
    keys = [names[begin].split("/", 1)[0] for begin in folders.begins.tolist()]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    facts = Facts(
        settings=settings,
        known=known,
        loose=sum("/" not in name for name in names),
        left_out={kind: len(pictures) for kind, pictures in left_out.items()},
        examples=left_out,
        others=others,
        digest=contents.hexdigest(),
    )
    shares, folder_shares = (np.array([share_of(text) for text in texts]) for texts in (names, keys))
    return CropIndex(packed, landmarks, shares, folders.take(order), folder_shares[order], facts)


def _tell_of_the_face(landmarks: Tensor) -> int:
    """Make those unknown, (N, 5, 2), that are all in one place; how many are left."""
    known = 0
    for part in landmarks.split(_CHUNK):
        good = (part - part.mean(1, keepdim=True)).abs().amax((1, 2)) > _LEAST_SPREAD
        part[~good] = torch.nan
        known += int(good.sum())
    return known


def _folders(names: list[str]) -> Runs:
    """Runs of names with the same first folder, in their order; sorted names have them together."""
    begins, before = [], None
    for number, name in enumerate(names):
        first = name.partition("/")[0] if "/" in name else None
        if first is None or first != before:
            begins.append(number)
        before = first
    starts = np.array(begins, np.int64)
    return Runs(starts, np.append(starts[1:], len(names)))


def read_index(path: Path) -> tuple[CropIndex, dict[str, int]]:
    """Map an index, and tell which files and folders it depends on and when each of them had been changed, in ns.

    Raises DamagedFile for what cannot be read, ForeignFile for one of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["crops"])
            if facts.pop("version", None) != VERSION:
                raise ForeignFile(path, "is of another version of idn: delete it")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        settings = facts.pop("settings")
        index = CropIndex(
            PackedNames(arrays["names"], arrays["name_ends"]),
            tensors["landmarks"],
            arrays["shares"],
            Runs(arrays["folder_begins"], arrays["folder_ends"]),
            arrays["folder_shares"],
            Facts(None if settings is None else Settings(**settings), **facts),
            path,
        )
        watched = PackedNames(arrays["watched"], arrays["watched_ends"])
        return index, dict(zip(watched, arrays["watched_changed"].tolist(), strict=True))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ForeignFile):
            raise
        raise DamagedFile(path, f"cannot be read ({type(error).__name__}: {error}): delete it") from error


def _read_again(path: Path, digest: str) -> CropIndex:
    """The index that another process has mapped. Raises ForeignFile if somebody has replaced it since."""
    index, _ = read_index(path)
    if index.facts.digest != digest:
        raise ForeignFile(path, "was replaced while a run read it: run again")
    return index
