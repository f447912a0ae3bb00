"""What is kept of pairs that were judged: a folder per chunk that is there whole or not at all, so that a stopped
evaluation goes on."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from idn.errors import DamagedFile
from idn.files.atomic import atomic_write
from idn.images import resize, to_uint8

PARTS = "parts"
"""Folder of the chunks in that of an evaluation."""
SIDE = 112
"""Pixels of a picture in a strip."""
_QUALITY = 82
_ROWS, _FEATURES = "rows.json", "features.safetensors"
_ROW = {"pair", "source_person", "target_person", "method", "problem", "values"}
_AGAIN = "is damaged: delete it and give the command of `idn eval` again, which judges the pairs of this part once more"


class Part(NamedTuple):
    """One chunk of pairs, judged."""

    rows: Sequence[Mapping[str, Any]]
    """Per pair and method: pair, source_person, target_person, method, problem and values by metric."""
    seconds: Mapping[str, float]
    """What took how long."""
    features: Mapping[str, Tensor]
    """By method, (N, C): what FID and KID compare; pairs with a problem are not among them."""
    strips: Sequence[bytes]
    """Per pair, a WebP with source, target and what each method made of them, side by side."""


class Parts:
    """The chunks of an evaluation on disk. folder: of the evaluation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PARTS

    def done(self, number: int) -> bool:
        """Whether a chunk is there."""
        return self._place(number).is_dir()

    def write(self, number: int, part: Part) -> None:
        """Keep a chunk, whole."""
        with atomic_write(self._place(number)) as draft:
            draft.mkdir()
            judged = {"rows": list(part.rows), "seconds": dict(part.seconds)}
            (draft / _ROWS).write_text(json.dumps(judged, ensure_ascii=False))
            save_file({name: value.contiguous() for name, value in part.features.items()}, draft / _FEATURES)
            for place, strip in enumerate(part.strips):
                (draft / f"{place:03d}.webp").write_bytes(strip)

    def rows(self, number: int, methods: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """All rows of a chunk, in order. Raises FileError for one that is damaged or is not of these methods."""
        place = self._place(number)
        try:
            rows = self._judged(number)["rows"]
            if not all(row.keys() >= _ROW and row["method"] in methods for row in rows):
                raise ValueError("rows of something else")
            return rows
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFile(place, _AGAIN) from error

    def seconds(self, count: int) -> dict[str, float]:
        """What took how long, over the first `count` chunks."""
        total: dict[str, float] = {}
        for number in range(count):
            for what, seconds in self._judged(number)["seconds"].items():
                total[what] = total.get(what, 0.0) + seconds
        return total

    def features(self, count: int, method: str) -> Tensor:
        """(P, C) of a method over the first `count` chunks."""
        return torch.cat([self._features(number)[method] for number in range(count)])

    def strip(self, number: int, place: int) -> bytes:
        """The WebP of one pair: chunk, and place in it."""
        return self._content(number, f"{place:03d}.webp")

    def _features(self, number: int) -> Mapping[str, Tensor]:
        try:
            return load_file(self._place(number) / _FEATURES)
        except (OSError, SafetensorError) as error:
            raise DamagedFile(self._place(number), _AGAIN) from error

    def _judged(self, number: int) -> Mapping[str, Any]:
        try:
            return json.loads(self._content(number, _ROWS))
        except ValueError as error:
            raise DamagedFile(self._place(number), _AGAIN) from error

    def _content(self, number: int, name: str) -> bytes:
        try:
            return (self._place(number) / name).read_bytes()
        except OSError as error:
            raise DamagedFile(self._place(number), _AGAIN) from error

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:06d}"


def strips(columns: Sequence[Tensor]) -> list[bytes]:
    """Per pair, a WebP of the columns side by side. columns: (N, 3, S, S) in [0, 1] each."""
    wide = torch.cat([to_uint8(resize(column.float().cpu(), SIDE)) for column in columns], 3)
    return [_webp(picture) for picture in wide]


def _webp(picture: Tensor) -> bytes:
    encoded = BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(encoded, "WEBP", quality=_QUALITY)
    return encoded.getvalue()
