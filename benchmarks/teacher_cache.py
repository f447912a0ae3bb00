"""What keeping a teacher's answers saves: a training step with SimSwap 224 in it, from its kept answers, and without.

    python benchmarks/teacher_cache.py [--sizes 128 224] [--batch 2] [--rounds 5] [--perceptual encoder vgg16]

Teacher, identity encoder (ArcFace IR-SE-101, which both read) and VGG-16 have their published shapes and random
weights: time does not depend on them. The same pairs lie in memory for every variant. Kept answers are read and decoded
in the training process, the worst case: loader processes do that beside the step. "In memory" is a step whose teacher
costs nothing at all. Variants take turns, round after round; the table gives medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch.utils.data import Dataset

import idn
from idn.encoders.arcface import ArcFaceNet
from idn.files.tensors import write_tensors
from idn.hardware import describe, keep_large_buffers
from idn.losses.perceptual_features import TimmFeatures
from idn.teacher_cache.shards import PictureFormat
from idn.teacher_cache.write import write_cache
from idn.training.modules.swap_training import SwapTraining
from idn.types import SwapBatch
from teachers.base import FrozenTeacher
from teachers.cached import CachedTeacher
from teachers.published.simswap import ARCHITECTURES, SimSwapNet

FORMATS = {"png": ("png", None), "webp without loss": ("webp", None), "jpg 95": ("jpg", 95)}
STAGES = [0, 1, 2]
ITEMS = 2


class Variant(NamedTuple):
    """One way to get the teacher's answers."""

    name: str
    teacher: FrozenTeacher
    pairs: Dataset
    size: float
    """Of an answer on disk, in kB."""


class InMemory(Dataset):
    """Items that were made beforehand."""

    def __init__(self, items: list[SwapBatch]) -> None:
        self.items = items

    def __getitem__(self, index: int) -> SwapBatch:
        return self.items[index % len(self.items)]


def write_weights(folder: Path) -> None:
    """Files as they are published, with random numbers."""
    torch.manual_seed(0)
    plain = ARCHITECTURES["plain"]
    write_tensors(folder / "simswap.safetensors", SimSwapNet(plain.widths, plain.first, plain.blocks).state_dict())
    write_tensors(folder / "arcface.safetensors", ArcFaceNet().state_dict())
    vgg = timm.create_model("vgg16", pretrained=False, features_only=True, out_indices=STAGES)
    write_tensors(folder / "vgg16.safetensors", vgg.state_dict())


def build(folder: Path, size: int, batch: int) -> tuple[SwapTraining, Any]:
    """The module and data of `idn train teacher=simswap_224 encoder=arcface`."""
    options = [
        "teacher=simswap_224",
        f"teacher.weights={folder}/simswap.safetensors",
        "teacher.encoder=null",
        "encoder=arcface",
        f"encoder.weights={folder}/arcface.safetensors",
        f"data.size={size}",
        f"data.batch={batch}",
        "data.val_batches=1",
    ]
    return idn.build("train", options)


def variants(module: SwapTraining, data: Any, folder: Path) -> list[Variant]:
    """Live, every format, and nothing to do."""
    live, batch = module.supervisor.teacher, len(data.train[0].target)
    data.train = InMemory([data.train[index] for index in range(ITEMS)])
    found = [Variant("live teacher", live, data.train, 0)]
    for name, (kind, quality) in FORMATS.items():
        out = folder / f"{data.size}_{kind}"
        pictures = PictureFormat(kind, quality)
        with redirect_stdout(sys.stderr):
            write_cache(out, data, live, module.encoder, None, ITEMS * batch, pictures, 512, 0, {}, "cpu")
        teacher = CachedTeacher(out)
        shards = teacher.manifest.shards.values()
        size = sum(shard.bytes for shard in shards) / sum(shard.pairs for shard in shards) / 1e3
        found.append(Variant(f"kept, {name}", teacher, teacher.attach(data, module.encoder).train, size))
    last = found[-1]
    kept = InMemory([last.pairs[index] for index in range(ITEMS)])
    return [*found, Variant("in memory", last.teacher, kept, 0)]


def step(module: SwapTraining, optimizer: torch.optim.Optimizer, pairs: Dataset, index: int) -> tuple[float, ...]:
    """Milliseconds to read the pairs, to ask the frozen networks, and to learn."""
    times = [time.perf_counter()]
    batch = pairs[index]
    times.append(time.perf_counter())
    with torch.no_grad():
        module.supervisor.supervise(batch, module.encoder(batch.source), module.encoder)
    times.append(time.perf_counter())
    seen = module.observe(batch, module.network)
    module.objective(seen.prediction, seen.supervision, seen.supervised.trust)[0].backward()
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.perf_counter())
    return tuple((b - a) * 1e3 for a, b in pairwise(times))


def measure(module: SwapTraining, ways: list[Variant], rounds: int) -> dict[str, list[float]]:
    """Medians by variant; the first round warms up."""
    optimizer = module.optimizer(module.network.parameters())
    seen: dict[str, list[tuple[float, ...]]] = {way.name: [] for way in ways}
    for index in range(rounds + 1):
        for way in ways:
            module.supervisor.teacher = way.teacher
            times = step(module, optimizer, way.pairs, index)
            seen[way.name] += [times] if index else []
            print(f"round {index}  {way.name}: {sum(times):.0f} ms", file=sys.stderr, flush=True)
    columns = {name: [*zip(*runs, strict=True), [sum(run) for run in runs]] for name, runs in seen.items()}
    return {name: [statistics.median(column) for column in parts] for name, parts in columns.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--batch", type=int, default=2, help="pairs per step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--perceptual", nargs="+", choices=["encoder", "vgg16"], default=["encoder", "vgg16"])
    arguments = parser.parse_args()
    keep_large_buffers()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder)
        for size in arguments.sizes:
            module, data = build(folder, size, arguments.batch)
            ways = variants(module, data, folder)
            for perceptual in arguments.perceptual:
                if perceptual == "vgg16":
                    module.perceptual = TimmFeatures("vgg16", STAGES, folder / "vgg16.safetensors")
                medians = measure(module.train(), ways, arguments.rounds)
                live = medians[ways[0].name][-1]
                for way in ways:
                    cells = " | ".join(f"{value:.0f}" for value in medians[way.name])
                    kept = f"{way.size:.0f}" if way.size else ""
                    ratio = medians[way.name][-1] / live
                    rows.append(f"| {size} | {perceptual} | {way.name} | {cells} | {ratio:.2f} | {kept} |")
    print(f"{describe()}; {arguments.batch} pairs per step, {arguments.rounds} rounds\n")
    print("| px | perceptual | teacher's answer | read, ms | ask, ms | learn, ms | step, ms | of live | kB per pair |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
