"""Storages of crops: samples per second of a folder, of the shards of `idn shards`, WebDataset, litdata and MDS.

Makes one set of JPEG crops in all of them and reads each in a shuffled order with two loader processes, once as bytes
and once decoded to tensors, in fresh processes that take turns. Files are in memory by then: what is compared is the
work per sample, told as samples per second and as seconds of a processor for a thousand of them, which other work on
the machine changes less. Needs webdataset, litdata and mosaicml-streaming for their rows; what is missing is left out.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SIDE, BATCH, WORKERS, SEED, MEGABYTES = 256, 16, 2, 0, 4
STORAGES = {
    "folder": "torch",
    "shards": "torch",
    "webdataset": "webdataset",
    "litdata": "litdata",
    "mds": "streaming",
}
"""Storage -> the package that reads it."""


def make_crops(root: Path, count: int) -> None:
    """Smooth noise, which fills a JPEG about as a face does."""
    import numpy as np
    from PIL import Image

    root.mkdir(parents=True)
    draw = np.random.default_rng(SEED)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 255, (48, 48, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(root / f"{number:06d}.jpg", quality=90)


def read_file(path: str) -> dict[str, bytes]:
    """The same."""
    return {"jpg": Path(path).read_bytes()}


def write(storage: str, crops: Path, to: Path) -> None:
    """The crops once more, as this storage keeps them."""
    names = sorted(map(str, crops.iterdir()))
    if storage == "shards":
        from idn.data.shards.write import write_shards

        write_shards(str(crops), str(to), MEGABYTES)
    elif storage == "litdata":
        import litdata

        litdata.optimize(read_file, names, str(to), chunk_bytes=f"{MEGABYTES}MB", num_workers=1)
    elif storage == "mds":
        from streaming import MDSWriter

        with MDSWriter(out=str(to), columns={"jpg": "bytes"}, size_limit=MEGABYTES * 10**6) as writer:
            for name in names:
                writer.write(read_file(name))


def decode(content: bytes) -> Any:
    """(3, SIDE, SIDE) uint8."""
    import numpy as np
    import torch
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)


class ByName:
    """Crops of a folder or of shards, by number."""

    def __init__(self, root: Path, names: list[str], decoded: bool) -> None:
        from idn.data.shards.reader import ShardedCrops, holds_shards

        self.names, self.decoded = names, decoded
        self.content = ShardedCrops(root).content if holds_shards(root) else lambda name: Path(root, name).read_bytes()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Any:
        content = self.content(self.names[number])
        return decode(content) if self.decoded else len(content)


def batches(storage: str, root: Path, names: list[str], decoded: bool) -> Iterable[Any]:
    """Batches of all samples, shuffled, by the loader that belongs to a storage."""
    from torch.utils.data import DataLoader

    def ready(sample: dict[str, bytes]) -> Any:
        return decode(sample["jpg"]) if decoded else len(sample["jpg"])

    options = {"batch_size": BATCH, "num_workers": WORKERS}
    if storage in ("folder", "shards"):
        return DataLoader(ByName(root, names, decoded), shuffle=True, **options)
    if storage == "webdataset":
        import webdataset

        files = sorted(map(str, root.glob("*.tar")))
        stream = webdataset.WebDataset(files, shardshuffle=len(files), seed=SEED).shuffle(1000).map(ready)
        return DataLoader(stream, **options)
    if storage == "litdata":
        import litdata

        stream = litdata.StreamingDataset(str(root), shuffle=True, seed=SEED, transform=ready)
        return litdata.StreamingDataLoader(stream, **options)
    from streaming import StreamingDataset

    class Read(StreamingDataset):
        def __getitem__(self, number: int) -> Any:
            return ready(super().__getitem__(number))

    return DataLoader(Read(local=str(root), shuffle=True, batch_size=BATCH, shuffle_seed=SEED), **options)


def spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(loader: Iterable[Any]) -> tuple[int, float, float]:
    """Samples, seconds and processor seconds of one round."""
    began, before = time.perf_counter(), spent()
    stream: Iterator[Any] = iter(loader)
    count = sum(len(batch) for batch in stream)
    del stream  # ends the loader processes, whose time counts then
    return count, time.perf_counter() - began, spent() - before


def read(storage: str, root: str, listed: str) -> None:
    """Both rounds of a storage in this process: prints their figures as JSON."""
    names, figures = sorted(os.listdir(listed)), {}
    for label, decoded in (("bytes", False), ("decoded", True)):
        count, seconds, used = timed(batches(storage, Path(root), names, decoded))
        if count < len(names) * 0.98:
            raise SystemExit(f"{storage}: {count} of {len(names)} samples came")
        figures[f"{label}, samples/s"], figures[f"{label}, CPU s per 1000"] = count / seconds, 1000 * used / count
    print(json.dumps(figures))


def installed(package: str) -> bool:
    """Whether a package is there."""
    import importlib.util

    return importlib.util.find_spec(package) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", nargs=3, help="used by the benchmark itself: storage, its folder, that of the crops")
    given = parser.parse_args()
    if given.read is not None:
        read(*given.read)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name, package in STORAGES.items() if installed(package)}
    with tempfile.TemporaryDirectory() as folder:
        crops = Path(folder, "folder")
        make_crops(crops, given.crops)
        for storage in found:
            write(storage, crops, Path(folder, storage))
        places = {storage: Path(folder, "shards" if storage == "webdataset" else storage) for storage in found}
        for _ in range(given.rounds):
            for storage, figures in found.items():
                command = [sys.executable, __file__, "--read", storage, str(places[storage]), str(crops)]
                out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                figures.append(json.loads(out.splitlines()[-1]))
    for storage, figures in found.items():
        medians = {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        print(storage, *(f"{key}: {value:.3g}" for key, value in medians.items()), sep="  ")


if __name__ == "__main__":
    main()
