"""Start of a run on a million crops: seconds and memory, for the first run and for every later one.

Links a few pictures a million times into one folder with a manifest as `idn align` writes it, and begins to train from
there in fresh processes: until the first batch of 16 pairs, with two loader processes. Needs 1 GB of disk, and
minutes. With --without-files there are no pictures but one, which stands for all, and the index is made of names
alone: what a later run takes is the same, what the first one takes is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

BATCH = 16
PICTURES = 20
POINTS = [[0.35, 0.45], [0.65, 0.45], [0.5, 0.6], [0.4, 0.75], [0.6, 0.75]]
"""Landmarks of every face."""


def make_folder(root: Path, crops: int) -> None:
    """Links to a few pictures, and a manifest that knows all of them."""
    import numpy as np
    from PIL import Image

    from idn.data.alignment.manifest import NAME, Record, Settings

    (root / ".pictures").mkdir(parents=True)
    draw = np.random.default_rng(0)
    with (root / NAME).open("w") as lines:
        lines.write(json.dumps(asdict(Settings("/photographs", "ffhq", 256, 48, "jpg", 95))) + "\n")
        for number in range(crops):
            batch, name = number // 50_000, f"{number:07d}.jpg"  # a file has 65,000 names at most
            original = root / ".pictures" / f"{batch}_{number % PICTURES}.jpg"
            if not original.exists():
                coarse = draw.integers(0, 255, (16, 16, 3), np.uint8)
                Image.fromarray(coarse).resize((256, 256)).save(original, quality=95)
            os.link(original, root / name)
            record = Record(name, "ok", crop=name, digest=f"{number:032x}", landmarks=POINTS, score=0.9, faces=1)
            lines.write(json.dumps(asdict(record)) + "\n")


def make_index(root: Path, crops: int) -> None:
    """One picture, and the kept index of a folder that would hold it under a million names."""
    import torch
    from PIL import Image

    from idn.data.alignment.manifest import Settings
    from idn.data.crop_index import pack_index
    from idn.files.photos import changed_at

    (root / ".crops").mkdir(parents=True)
    Image.linear_gradient("L").convert("RGB").save(root / ".crops" / "picture.jpg", quality=95)
    settings = Settings("/photographs", "ffhq", 256, 48, "jpg", 95)
    index = pack_index([f"{number:07d}.jpg" for number in range(crops)], {}, settings, {}, [])
    index.landmarks[:] = torch.tensor(POINTS)
    index = replace(index, facts=replace(index.facts, known=crops))
    index.write(root / ".crops" / "index.safetensors", {"": changed_at(root)})


def resident(pid: int | str = "self") -> float:
    """Megabytes of memory that a process holds, pages of mapped files included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def start(root: str) -> None:
    """One start of a run, in a fresh process: prints its figures as JSON."""
    began = time.perf_counter()
    from idn.data.augment import Augment
    from idn.data.crop_reader import CropReader
    from idn.data.photo_pairs import faces_data
    from idn.files.photos import read_photo

    if (single := Path(root, ".crops", "picture.jpg")).is_file():
        CropReader.stored = lambda self, name: read_photo(single)
    imported, bare = time.perf_counter(), resident()
    data = faces_data(root, 128, "arcface_112_v2", BATCH, 0, workers=2, augment=Augment())
    opened = time.perf_counter()
    batches = iter(data._loader(data.train, range(BATCH * 1000)))
    next(batches)
    figures = {
        "imports, s": imported - began,
        "crops, s": opened - imported,
        "first batch, s": time.perf_counter() - opened,
        "imports, MB": bare,
        "process, MB": resident(),
        "largest worker, MB": max(resident(worker.pid) for worker in batches._workers),
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=1_000_000)
    parser.add_argument("--without-files", action="store_true")
    parser.add_argument("--folder", help="where the crops are linked for as long as it takes")
    parser.add_argument("--start", help="used by the benchmark itself: start one run on a folder")
    given = parser.parse_args()
    if given.start is not None:
        start(given.start)
        return
    table = Table(title=f"{given.crops} crops")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        root = Path(folder, "crops")
        (make_index if given.without_files else make_folder)(root, given.crops)
        time.sleep(1)  # a folder that was changed just now is not taken for finished
        for label in ("later run",) if given.without_files else ("first run", "later run", "later run"):
            command = [sys.executable, __file__, "--start", str(root)]
            figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            if not table.columns:
                table.add_column("run")
                for name in figures:
                    table.add_column(name, justify="right")
            table.add_row(label, *(f"{value:.1f}" for value in figures.values()))
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
