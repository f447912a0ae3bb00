"""The manifest of a folder of kept teacher's answers: `cache.json`, what it holds and how it came about.

It is replaced whole, and names a shard only once that is on disk, so a writer may be stopped at any moment. It holds no
time: equal caches have equal manifests.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch

from idn.errors import DamagedFile, FileError, ForeignFile, MissingFile, UserError
from idn.files.atomic import atomic_write
from idn.files.digests import file_sha256
from idn.images import resize
from idn.types import LARGEST_CROP, IdentityEncoder

MANIFEST = "cache.json"
VERSION = 2
Part = Literal["train", "val"]
PARTS: tuple[Part, ...] = ("train", "val")

_LEAST_SQUARE = 1e-10  # 100 dB, as in idn.metrics.images
_MARK_LENGTH = 8
_MARK_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest says of a finished shard. Errors are those of its pictures against the teacher's, in [0, 1]."""

    sha256: str
    bytes: int
    pairs: int
    error_mean: float
    error_square: float
    error_max: float


@dataclass(frozen=True)
class PictureError:
    """What encoding did to the teacher's pictures: mean and largest absolute difference, of a range of 1, and dB."""

    mean: float
    max: float
    psnr: float


@dataclass(frozen=True)
class CacheManifest:
    """Everything that a cache declares about itself.

    teacher: name, variant, licence and commercial of its record. encoder: see `describe_encoder`. options: what a
    person needs to present the same pairs again. format, quality: see PictureFormat.
    size, template: pixels and alignment template of the crops.
    rows: pairs per item. items: by part. shard_items: items per shard, fewer in the last one of a part.
    scored: whether a quality is kept. weights: `weights_digest` of "teacher" and "scorer", None where no scorer
    was asked. shards: the finished ones.
    """

    teacher: dict[str, Any]
    encoder: dict[str, Any]
    options: dict[str, Any]
    format: str
    quality: int | None
    size: int
    template: str
    seed: int
    rows: int
    items: dict[str, int]
    shard_items: int
    scored: bool
    weights: dict[str, str | None]
    shards: dict[str, ShardEntry] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        """Refuse, by ValueError, what no cache says of itself: files are edited by hand, and damaged by accident."""
        entries, texts = self.shards.values(), (self.teacher[name] for name in ("name", "variant", "licence"))
        right = {
            "teacher": all(isinstance(text, str) for text in texts)
            and set(self.teacher) == {"name", "variant", "licence", "commercial"}
            and isinstance(self.teacher["commercial"], bool | None),
            "encoder": isinstance(self.encoder["name"], str)
            and _whole(self.encoder["embedding_dim"])
            and isinstance(self.encoder["mark"], list)
            and all(_number(value) for value in self.encoder["mark"]),
            "options": isinstance(self.options, dict),
            "format": self.format in ("png", "webp", "jpg"),
            "quality": self.quality is None or (_whole(self.quality) and self.quality <= 100),
            "template": isinstance(self.template, str),
            "seed": isinstance(self.seed, int),
            "items": set(self.items) == set(PARTS) and all(map(_whole, self.items.values())),
            "scored": isinstance(self.scored, bool),
            "weights": set(self.weights) == {"teacher", "scorer"}
            and all(isinstance(value, str | None) for value in self.weights.values()),
            "shards": all(isinstance(e.sha256, str) and _whole(e.bytes) and _whole(e.pairs) for e in entries)
            and all(_number(value) for e in entries for value in (e.error_mean, e.error_square, e.error_max)),
            "size": _whole(self.size) and self.size <= LARGEST_CROP,
            **{name: _whole(getattr(self, name)) for name in ("rows", "shard_items")},
        }
        if wrong := [name for name, is_right in right.items() if not is_right]:
            raise ValueError(f"{wrong[0]} cannot be {getattr(self, wrong[0])}"[:200])

    def layout(self) -> Iterator[tuple[str, Part, range]]:
        """Name, part and items of every shard, in order."""
        for part in PARTS:
            for number, first in enumerate(range(0, self.items[part], self.shard_items)):
                yield shard_name(part, number), part, range(first, min(first + self.shard_items, self.items[part]))

    @property
    def complete(self) -> bool:
        """Whether every shard is finished."""
        return all(name in self.shards for name, _, _ in self.layout())

    @property
    def error(self) -> PictureError:
        """Of all finished shards, weighted by their pairs; at most 100 dB. At least one is needed."""
        entries = self.shards.values()
        pairs = sum(entry.pairs for entry in entries)
        square = sum(entry.error_square * entry.pairs for entry in entries) / pairs
        return PictureError(
            sum(entry.error_mean * entry.pairs for entry in entries) / pairs,
            max(entry.error_max for entry in entries),
            -10 * math.log10(max(square, _LEAST_SQUARE)),
        )

    def settings(self) -> dict[str, Any]:
        """What may not change between the runs that write one cache: everything but progress and what tells weights.

        Keys are dotted; those of `options` come first and without that word, as they are typed.
        """
        whole = {k: v for k, v in asdict(self).items() if k not in ("shards", "weights")}
        whole["encoder"] = {k: v for k, v in whole["encoder"].items() if k != "mark"}
        return dict(_dotted(whole.pop("options"))) | dict(_dotted(whole))

    def other_weights(self, now: Self) -> str | None:
        """Which network, in words, has other weights in `now`; None if none."""
        names = {"teacher": f"teacher {self.teacher['name']}", "scorer": "quality scorer"}
        return next((names[role] for role, known in self.weights.items() if known != now.weights[role]), None)

    def finished(self, shards: Mapping[str, ShardEntry]) -> Self:
        """The same cache with these shards, in the order of `layout`, whatever the order in which they came."""
        return replace(self, shards={name: shards[name] for name, _, _ in self.layout() if name in shards})

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder, all at once. Raises OSError if the disk refuses."""
        value = asdict(self) | {"error": asdict(self.error) if self.complete else None}
        with atomic_write(folder / MANIFEST) as draft:
            draft.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises UserError if the folder has no manifest, or one that is damaged or of another version."""
        path = folder / MANIFEST
        if not path.is_file():
            raise MissingFile(path, "is missing: give the folder that `idn cache` wrote")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["version"] != VERSION:
                raise ForeignFile(path, f"is of version {value['version']}, not {VERSION}: write the cache anew")
            del value["error"]
            value["shards"] = {name: ShardEntry(**entry) for name, entry in value["shards"].items()}
            return cls(**value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise DamagedFile(path, f"is damaged ({type(error).__name__}: {error}): write the cache anew") from error


def _whole(value: object) -> bool:
    """Whether this is a whole number, 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(path: Path, entry: ShardEntry, checksum: bool = True) -> bool:
    """Whether a shard is there with the size and, unless that is left out, the checksum of its entry."""
    if not path.is_file() or path.stat().st_size != entry.bytes:
        return False
    return not checksum or file_sha256(path) == entry.sha256


def check_shards(folder: Path, manifest: CacheManifest, checksums: bool) -> None:
    """Raise UserError, naming the shard, unless all are there with the sizes, or also the checksums, of the manifest.

    Memory does not grow with their size.
    """
    if not manifest.complete:
        raise FileError(folder, "is not complete: run the same `idn cache` again to finish it")
    for name, entry in manifest.shards.items():
        if not is_whole(folder / name, entry, checksums):
            kind, what = (DamagedFile, "damaged") if (folder / name).is_file() else (MissingFile, "missing")
            raise kind(folder / name, f"is {what}: copy it anew, or run the same `idn cache` again to mend it")


@torch.no_grad()
def describe_encoder(encoder: IdentityEncoder, size: int) -> dict[str, Any]:
    """Name, embedding_dim, and mark: part of the embedding of a fixed pattern, which tells trained weights apart.

    encoder: on the CPU. size: pixels of the pattern.
    """
    pattern = resize(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), size)
    mark = [round(value, 6) for value in encoder(pattern).embedding[0, :_MARK_LENGTH].tolist()]
    return {"name": encoder.name, "embedding_dim": encoder.embedding_dim, "mark": mark}


def same_encoder(declared: Mapping[str, Any], encoder: IdentityEncoder, size: int) -> bool:
    """Whether an encoder on the CPU is the one that a manifest declares: name, length of the embedding and mark."""
    if declared["name"] != encoder.name or declared["embedding_dim"] != encoder.embedding_dim:
        return False
    known, here = (torch.tensor(described["mark"]) for described in (declared, describe_encoder(encoder, size)))
    return known.shape == here.shape and torch.allclose(known, here, rtol=0, atol=_MARK_TOLERANCE)


def shard_name(part: Part, number: int) -> str:
    """File name of a shard."""
    return f"{part}-{number:05d}.safetensors"


def _dotted(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options -> ("data.size", 96), ..."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _dotted(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
