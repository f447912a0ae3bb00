"""Shards: safetensors files that keep a teacher's answers to a fixed number of items.

`bytes` (uint8) holds the encoded pictures one after the other; `offsets` (int64) where each begins, and the end of the
last; `cosine` (float32) the identity cosine of picture and source; `quality` (float32), only where a scorer was asked;
`mean` (float32, six columns) the mean colours of source and target, which tell pairs apart. A row is one pair. There is
no metadata and no time: equal content makes equal bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, features
from safetensors import SafetensorError, safe_open
from torch import Tensor

from idn.errors import DamagedFile, OptionError
from idn.files.option_checks import require_int, require_one_of
from idn.files.tensors import write_tensors
from idn.images import from_uint8
from idn.teacher_cache.manifest import CacheManifest, Part, shard_name
from idn.types import SwapBatch

_JPEG_QUALITY = 95
_LOSSLESS_WEBP = {"lossless": True, "quality": 20, "method": 1}  # half of PNG's time, and smaller
_DAMAGE = (SafetensorError, OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError)
"""What readers of damaged shards and pictures raise, depending on where the damage lies."""


_PILLOW = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}


@dataclass(frozen=True)
class PictureFormat:
    """How pictures are encoded.

    format: "png", "webp" or "jpg". quality: 1 to 100 for webp and jpg; None is without loss for png and webp and
    becomes 95 for jpg, which keeps its colours at full resolution. Raises UserError for anything else.
    """

    format: str
    quality: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be encoded here."""
        require_one_of("format", self.format, _PILLOW)
        if self.format == "webp" and not features.check("webp"):
            raise OptionError(
                "format", self.format, "cannot be used: this Pillow was built without WebP, choose png or jpg"
            )
        if self.format == "png" and self.quality is not None:
            raise OptionError("quality", self.quality, "must be left out for png, which is always without loss")
        if self.quality is not None:
            require_int("quality", self.quality, 1, 100)
        if self.format == "jpg" and self.quality is None:
            object.__setattr__(self, "quality", _JPEG_QUALITY)

    def __str__(self) -> str:
        """Kind and quality in words."""
        return f"{self.format} without loss" if self.quality is None else f"{self.format} of quality {self.quality}"

    def encode(self, pixels: Tensor) -> bytes:
        """(3, S, S) uint8 RGB -> a file's content; equal pixels make equal bytes."""
        options: dict[str, Any] = {}
        if self.format == "jpg":
            options = {"quality": self.quality, "subsampling": 0}
        elif self.format == "webp":
            options = _LOSSLESS_WEBP if self.quality is None else {"quality": self.quality}
        encoded = BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(encoded, _PILLOW[self.format], **options)
        return encoded.getvalue()

    def decode(self, content: bytes, size: int) -> Tensor:
        """A file's content -> (3, size, size) uint8 RGB. ValueError or OSError if it is no such picture."""
        with Image.open(BytesIO(content), formats=[_PILLOW[self.format]]) as image:
            if image.size != (size, size) or image.mode != "RGB":
                raise ValueError(f"a picture is {image.size} {image.mode}, expected {(size, size)} RGB")
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class CachedAnswers(NamedTuple):
    """What is kept of N pairs."""

    pictures: Sequence[bytes]
    """N encoded pictures."""
    cosine: Tensor
    """(N,)."""
    quality: Tensor | None
    """(N,)."""
    mean: Tensor
    """(N, 6), see `mean_colours`."""


def write_shard(path: Path, rows: CachedAnswers) -> None:
    """Write a shard under its name, all at once. Raises OSError or SafetensorError if the disk refuses."""
    content = b"".join(rows.pictures)
    ends = torch.tensor([0, *map(len, rows.pictures)]).cumsum(0)
    tensors = {
        "bytes": torch.frombuffer(bytearray(content), dtype=torch.uint8),
        "offsets": ends,
        "cosine": rows.cosine.float(),
        "mean": rows.mean.float(),
    }
    if rows.quality is not None:
        tensors["quality"] = rows.quality.float()
    write_tensors(path, tensors)


class CachedItem(NamedTuple):
    """What was kept of the N pairs of one item."""

    pictures: Tensor
    """(N, 3, S, S) RGB in [0, 1]."""
    cosine: Tensor
    """(N,)."""
    quality: Tensor | None
    """(N,)."""
    mean: Tensor
    """(N, 6)."""


class ShardReader:
    """Items of one part of a cache, in any order. A shard is memory-mapped when it is first needed, in every process
    anew; only the pictures asked for are read."""

    def __init__(self, folder: Path, manifest: CacheManifest, part: Part) -> None:
        self.folder, self.manifest, self.part = folder, manifest, part
        self.pictures = PictureFormat(manifest.format, manifest.quality)
        self._shard: tuple[str, Any] | None = None

    def __len__(self) -> int:
        """How many items there are."""
        return self.manifest.items[self.part]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open shard out: another process opens its own."""
        return self.__dict__ | {"_shard": None}

    def read(self, item: int) -> CachedItem:
        """Decode one item. Raises IndexError beyond the last, UserError naming the shard if that cannot be read."""
        if not 0 <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        number, place = divmod(item, self.manifest.shard_items)
        path = self.folder / shard_name(self.part, number)
        first = place * self.manifest.rows
        rows = slice(first, first + self.manifest.rows)
        try:
            shard = self._open(path)
            ends = shard.get_slice("offsets")[rows.start : rows.stop + 1]
            content = shard.get_slice("bytes")[int(ends[0]) : int(ends[-1])].numpy().tobytes()
            ends = (ends - ends[0]).tolist()
            pixels = [self.pictures.decode(content[a:b], self.manifest.size) for a, b in pairwise(ends)]
            cosine, mean = (shard.get_slice(name)[rows].clone() for name in ("cosine", "mean"))
            quality = shard.get_slice("quality")[rows].clone() if self.manifest.scored else None
            return CachedItem(from_uint8(torch.stack(pixels)), cosine, quality, mean)
        except _DAMAGE as error:
            raise DamagedFile(
                path, f"is missing or damaged ({error}): copy it anew, or run the same `idn cache` again"
            ) from error

    def _open(self, path: Path) -> Any:
        if self._shard is None or self._shard[0] != path.name:
            self._shard = (path.name, safe_open(path, framework="pt"))
        return self._shard[1]


def mean_colours(batch: SwapBatch) -> Tensor:
    """(N, 6): mean red, green and blue of the sources and of the targets."""
    return torch.cat([images.mean((-2, -1)) for images in (batch.source, batch.target)], -1).float()
