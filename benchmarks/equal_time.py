"""Processor time of a training step, for runs of equal length: imported by the others."""

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import idn

SHORT, LONG = 4, 16
"""Steps of the two runs whose difference is timed."""


def train(steps: int, every: int, out: Path, options: Sequence[str]) -> dict[str, float]:
    """Metrics of held-out people after that many steps, measured every so many; pictures in `out`."""
    with redirect_stdout(sys.stderr):
        length = [f"trainer.max_steps={steps}", f"trainer.val_check_interval={every}"]
        return idn.train([*options, *length, f"hydra.run.dir={out}"]).metrics


def steps_of(seconds: float, folder: Path, options: Sequence[str]) -> int:
    """How many steps fit into that much processor time, at least one.

    A first run that is not timed pays for imports and compilation. Losses that begin later than the short runs end are
    not seen.
    """
    train(1, 1, folder / "first", [*options, "data.val_batches=1"])
    spent = []
    for steps in (SHORT, LONG):
        start = time.process_time()
        train(steps, steps, folder / f"trial_{steps}", [*options, "data.val_batches=1"])
        spent.append(time.process_time() - start)
    per_step = (spent[1] - spent[0]) / (LONG - SHORT)
    if per_step <= 0:
        raise SystemExit(f"{LONG} steps took no longer than {SHORT}: the machine is too busy to time a step")
    return max(1, round(seconds / per_step))
