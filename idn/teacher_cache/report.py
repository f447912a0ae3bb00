"""What `idn cache` says: how much disk it will take before it begins, and what it wrote at its end."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.table import Table

from idn.data.loaders import SwapData
from idn.errors import UserError
from idn.images import to_uint8
from idn.teacher_cache.manifest import PARTS, CacheManifest
from idn.teacher_cache.shards import PictureFormat

_SAMPLES = 8
_BESIDE = 40
"""Bytes that a shard keeps of a pair besides its picture."""
_SURELY = 0.7
"""Of the estimate: what the answers take at least, however much smoother they are than the targets."""


@dataclass
class CacheReport:
    """What was written, and what it took."""

    folder: Path
    """Where it is."""
    manifest: CacheManifest
    """What it declares."""
    resumed: int = 0
    """Shards of an earlier run that were found whole."""
    mended: list[str] = field(default_factory=list)
    """Shards of an earlier run that were missing or damaged, and were written again."""
    pairs: int = 0
    """Pairs that this run asked the teacher about."""
    seconds: Counter[str] = field(default_factory=Counter)
    """What this run spent on them: "data", "teacher", "encode", "identity"."""
    answered: Mapping[str, int] = field(default_factory=dict)
    """How many of them each part of the teacher answered, where it has parts."""

    def table(self) -> Table:
        """The figures as a table for a console."""
        manifest = self.manifest
        kept, size = (sum(getattr(e, name) for e in manifest.shards.values()) for name in ("pairs", "bytes"))
        error = manifest.error
        rows = {part: manifest.items[part] * manifest.rows for part in PARTS}
        table = Table("", "", title=f"{self.folder}: answers of {manifest.teacher['name']}", title_justify="left")
        table.add_row("pairs", f"{rows['train']} to train with, {rows['val']} held out")
        for name, pairs in self.answered.items() if self.pairs else ():
            table.add_row(f"answered by {name}", f"{pairs}, {pairs / self.pairs:.0%} of those that were asked about")
        table.add_row("shards", f"{len(manifest.shards)}, of which {self.resumed} were there before")
        for name in self.mended:
            table.add_row("mended", name)
        table.add_row("pictures", f"{manifest.size} px, {PictureFormat(manifest.format, manifest.quality)}")
        table.add_row("size", f"{size / 1e6:.1f} MB, {size / kept / 1e3:.1f} kB per pair")
        table.add_row(
            "error of the format",
            f"mean {error.mean * 255:.2f}, largest {error.max * 255:.1f} of 255 levels, {error.psnr:.1f} dB",
        )
        for name, seconds in self.seconds.items():
            table.add_row(f"time: {name}", f"{seconds / self.pairs * 1e3:.1f} ms per pair")
        return table


def announce(report: CacheReport, data: SwapData, pairs: int) -> None:
    """Say how many pairs the teacher will be asked about and about how much disk its answers will take.

    pairs: those that are left to ask about. Raises UserError if the disk of the folder clearly has not that much room.
    """
    manifest = report.manifest
    wanted = pairs * bytes_per_pair(manifest, data)
    free = shutil.disk_usage(report.folder).free
    if wanted * _SURELY > free:
        raise UserError(
            f"the answers to {pairs} pairs will take about {_words(wanted)}, and the disk of out={report.folder} has "
            f"{_words(free)} free: make room, or give another folder, fewer pairs or picture_format=jpg"
        )
    held_out = manifest.items["val"] * manifest.rows
    print(
        f"{pairs} pairs to ask about; the answers will take about {_words(wanted)}, {_words(free)} are free; "
        f"{held_out} pairs are held out by the data, and no student can validate on more",
        file=sys.stderr,
    )


def bytes_per_pair(manifest: CacheManifest, data: SwapData) -> float:
    """What the finished shards took per pair. While there are none, what the first few targets would take, encoded in
    the same way: an answer shows the same scene."""
    if entries := manifest.shards.values():
        return sum(entry.bytes for entry in entries) / sum(entry.pairs for entry in entries)
    count = 1 if data.batch_size is None else min(_SAMPLES, manifest.items["train"])
    targets = torch.cat([data.train[item].target for item in range(count)])[:_SAMPLES]
    pictures = PictureFormat(manifest.format, manifest.quality)
    return sum(len(pictures.encode(pixels)) for pixels in to_uint8(targets)) / len(targets) + _BESIDE


def _words(size: float) -> str:
    """A number of bytes as a person says it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
