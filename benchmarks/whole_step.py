"""Where the time of a whole training step goes: data, encoder, teacher, student, losses, backward, optimizer.

    python benchmarks/whole_step.py [--steps 20] [option=value ...]      options as for `idn train`

Prints a Markdown table of the median milliseconds per step and their share. A batch that is shown in several steps is
drawn, and frozen networks are asked about it, once: of these rows a step has a part.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

import idn
from idn.data.loaders import SwapData
from idn.hardware import describe, keep_large_buffers
from idn.metrics.identity import identity_cosine
from idn.training.modules.needs import look
from idn.training.modules.swap_training import SwapTraining
from idn.types import Prediction, Supervision, SwapBatch

TIMES: dict[str, list[float]] = defaultdict(list)
ONCE = (
    "data: draw or load",
    "encoder: sources",
    "teacher",
    "encoder: teacher's picture",
    "perceptual: teacher's picture",
    "trust",
)
"""Rows that every batch has once, in however many steps it is shown."""


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the milliseconds of the block to its row."""
    start = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    TIMES[name].append((time.perf_counter() - start) * 1e3)


def drawn(data: SwapData, index: int) -> SwapBatch:
    """The pairs of one step."""
    if data.batch_size is None:
        return data.train[index]
    return data.collate([data.train[index * data.batch_size + k] for k in range(data.batch_size)])


def step(module: SwapTraining, optimizer: torch.optim.Optimizer, data: SwapData, index: int, device: str) -> None:
    """One training step, taken apart."""
    with timed("data: draw or load"):
        batch = drawn(data, index).to(device)
    with torch.no_grad():
        with timed("encoder: sources"):
            faces = module.encoder(batch.sources)
            source = faces._replace(shallow=()).repeated(batch.targets_per_identity)
        with timed("teacher"):
            answer = module.supervisor.teacher(batch, source)
        with timed("encoder: teacher's picture"):
            seen = module.encoder(answer)
        with timed("perceptual: teacher's picture"):
            maps = module.perceptual(answer, seen) if "perceptual" in module.objective.needs else ()
        with timed("trust"):
            trust = module.supervisor.trust(
                identity_cosine(seen.embedding, source.embedding), answer, batch.cached_quality
            )
    supervision = Supervision(batch.target, source.embedding, batch.face, batch.same, answer, maps)
    with timed("student: injection, forward"):
        weights = module.network.inject(faces.embedding, faces.features)
    with timed("student: IDN, forward"):
        out = module.network.swap(batch.target, weights)
    image, mask, generated = leaves = [made.detach().requires_grad_() for made in out[:3]]
    with timed("looks at the swap and the pasted face, forward"):
        made, needs = Prediction(image, mask=mask, generated=generated), module.objective.needs
        prediction = look(made, batch.face, answer, needs, module.encoder, module.perceptual)
    with timed("losses"):
        total, _ = module.objective(prediction, supervision, trust)
    with timed("backward: losses, perceptual, encoder"):
        total.backward()
    with timed("backward: student"):
        reached = [(part, leaf.grad) for part, leaf in zip(out[:3], leaves, strict=True) if leaf.grad is not None]
        torch.autograd.backward(*map(list, zip(*reached, strict=True)))
    with timed("optimizer, clipping"):
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with timed("moving average"):
        module.ema.update(module.network)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    arguments, options = parser.parse_known_args()
    keep_large_buffers()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module, data = idn.build("train", options)
    module.to(device).train()
    optimizer = module.optimizer(module.network.parameters())
    for index in range(arguments.steps + 3):
        step(module, optimizer, data, index, device)
    medians = {name: statistics.median(values[3:]) for name, values in TIMES.items()}
    medians |= {name: medians[name] / data.repeats for name in ONCE}
    total = sum(medians.values())
    pairs = len(drawn(data, 0).target)
    shown = f"every batch in {data.repeats} steps"
    print(f"{describe()}; batch {pairs}, {shown}, {data.size} px; {' '.join(options) or 'defaults'}\n")
    print("| part of a step | ms | share |\n|---|---:|---:|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {value / total:.0%} |")
    print(f"| **whole step** | **{total:.1f}** | {pairs / total * 1e3:.1f} pairs/s |")


if __name__ == "__main__":
    main()
