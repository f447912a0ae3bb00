"""Proof that a written file computes what PyTorch computes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from idn.export.contract import Arrays, Runner
from idn.types import Network


class Parity(NamedTuple):
    """How far one output of a file is from PyTorch's, over all the examples."""

    output: str
    """Name of that output."""
    psnr: float
    """10 log10(peak² / mean squared difference), in dB; the peak is the largest absolute value of PyTorch's output, 1
    for images, for masks and for outputs that are all zero. Infinite for equal outputs."""
    max_abs: float
    """Largest difference of one number."""


def reference(network: Network, examples: Sequence[Arrays]) -> list[Arrays]:
    """What PyTorch answers to `examples`, one after the other."""
    with torch.inference_mode():
        answers = [network.module(*map(torch.from_numpy, example)) for example in examples]
    return [tuple(output.numpy() for output in answer) for answer in answers]


def compare(network: Network, runner: Runner, examples: Sequence[Arrays], expected: Sequence[Arrays]) -> Parity:
    """The output that differs most. Raises ValueError as `compare_each`, and if there is no output."""
    found = compare_each(network, runner, examples, expected)
    if not found:
        raise ValueError(f"{network.name} has no outputs to compare")
    return min(found, key=lambda parity: parity.psnr)


def compare_each(
    network: Network, runner: Runner, examples: Sequence[Arrays], expected: Sequence[Arrays]
) -> list[Parity]:
    """Run every example and compare each output, in their order, with what PyTorch answered.

    Raises ValueError if an output is missing or has another shape. An output that is not finite gives a PSNR of
    minus infinity.
    """
    answers = [runner(*example) for example in examples]
    found = []
    for index, name in enumerate(network.outputs):
        pairs = [(answer[index], right[index]) for answer, right in zip(answers, expected, strict=True)]
        if odd := [(a.shape, b.shape) for a, b in pairs if a.shape != b.shape]:
            raise ValueError(f"{name}: expected {odd[0][1]}, got {odd[0][0]}")
        found.append(_parity(name, np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])))
    return found


def _parity(name: str, got: np.ndarray, expected: np.ndarray) -> Parity:
    if not np.isfinite(got).all():
        return Parity(name, -math.inf, math.inf)
    difference = got.astype(np.float64) - expected
    peak = 1.0 if name in ("image", "mask") else float(np.abs(expected).max()) or 1.0
    error = float(np.square(difference).mean())
    psnr = 10 * math.log10(peak**2 / error) if error > 0 else math.inf
    return Parity(name, psnr, float(np.abs(difference).max()))
