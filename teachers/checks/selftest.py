"""Does a teacher's file do what it should? Checks that a person would make by hand before training for days on it."""

import statistics
import time
from typing import NamedTuple

import torch
from torch import Tensor

from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher, pick

RECONSTRUCTION = 0.1
"""Mean absolute error, of RGB in [0, 1], above which a face given its own identity counts as not reconstructed."""
SLACK = 0.05
"""How far beyond [0, 1] a hundredth of the numbers at either end may lie."""
INVARIANCE = 2e-3
"""Largest difference, of RGB in [0, 1], between a face swapped alone and the same face in a batch."""
UNIT = 1e-3
"""How far the length of a normalised embedding may be from 1."""


class Finding(NamedTuple):
    """One check. passed is None where there is nothing to pass."""

    check: str
    value: str
    wanted: str
    passed: bool | None


@torch.no_grad()
def examine(teacher: FrozenTeacher, encoder: IdentityEncoder, batch: SwapBatch, rounds: int = 3) -> list[Finding]:
    """Check a teacher on at least two pairs of different people.

    encoder: the one that would serve the student.
    batch: crops as `teacher.crop_template` says, on the device to be timed.
    rounds: of the measurement of speed. That its file was read strictly is proven by its existence.
    """
    source = encoder(batch.source)
    swaps = teacher(batch, source)
    return [
        Finding("strict load", "every key, every shape", "the same", True),
        *_embeddings(teacher, batch, source),
        *_range(teacher, batch, source),
        _reconstruction(teacher, batch, source),
        _identity(encoder, swaps, batch, source),
        _invariance(teacher, batch, source, swaps),
        *_speed(teacher, batch, source, rounds),
    ]


def _embeddings(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures) -> list[Finding]:
    spec = teacher.record.source
    if spec.dim is None:
        return []
    lengths = teacher.identity(batch, source).norm(dim=1)
    unit = bool(((lengths - 1).abs() < UNIT).all())
    value = f"{lengths.min():.3f} to {lengths.max():.3f}"
    return [Finding("embedding length", value, "1" if spec.unit_length else "not 1", unit == spec.unit_length)]


def _range(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures) -> list[Finding]:
    answer = teacher.answer(batch, source).float().flatten()
    finite = bool(answer.isfinite().all())
    ends = answer.nan_to_num().sort().values[[len(answer) // 100, -1 - len(answer) // 100]]
    inside = finite and float(ends[0]) >= -SLACK and float(ends[1]) <= 1 + SLACK
    value = f"{ends[0]:.2f} to {ends[1]:.2f}" if finite else "numbers that are not finite"
    return [Finding("output range, 98 % of it", value, "0 to 1", inside)]


def _reconstruction(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures) -> Finding:
    again = teacher(batch._replace(target=batch.source, truth=None if batch.truth is None else batch.source), source)
    error = float((again - batch.source).abs().mean())
    return Finding("own identity: mean error", f"{error:.3f}", f"below {RECONSTRUCTION}", error < RECONSTRUCTION)


def _identity(encoder: IdentityEncoder, swaps: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Finding:
    before, after = (
        float((encoder(images).embedding * source.embedding).sum(1).mean()) for images in (batch.target, swaps)
    )
    return Finding("identity: cosine to the source", f"{after:.3f}", f"above the target's {before:.3f}", after > before)


def _invariance(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures, swaps: Tensor) -> Finding:
    alone = torch.cat([teacher(*pick(batch, source, slice(i, i + 1))) for i in range(len(swaps))])
    difference = float((alone - swaps).abs().max())
    wanted = f"below {INVARIANCE}"
    return Finding("alone or in a batch: difference", f"{difference:.1e}", wanted, difference < INVARIANCE)


def _speed(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures, rounds: int) -> list[Finding]:
    findings = []
    for count in sorted({1, len(batch.target)}):
        some = pick(batch, source, slice(0, count))
        times = [_timed(teacher, *some) for _ in range(rounds)]
        value = f"{statistics.median(times) / count * 1e3:.1f} ms a face"
        findings.append(Finding(f"speed, {count} at a time", value, "", None))
    return findings


def _timed(teacher: FrozenTeacher, batch: SwapBatch, source: IdentityFeatures) -> float:
    start = time.perf_counter()
    teacher(batch, source).sum().item()
    return time.perf_counter() - start
