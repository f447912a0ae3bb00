"""One-euro filter (doi:10.1145/2207676.2208639): landmarks without jitter at rest, and without lag in motion."""

import math

import torch
from torch import Tensor

SLOWEST = 1.5
"""Cutoff in Hz for a face that rests."""
QUICKENING = 3.0
"""Hz by which it grows with each face's width per second."""
_OF_SPEED = 1.0
"""Cutoff in Hz of the speed itself."""


class OneEuro:
    """Filters the landmarks of one face. Times may be spaced in any way."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._value: Tensor | None = None
        self._speed: Tensor | None = None

    def __call__(self, landmarks: Tensor, time: float) -> Tensor:
        """landmarks: (5, 2) in pixels. time: in seconds, later than before. Returns (5, 2)."""
        if self._time is None or time <= self._time:
            self._time, self._value, self._speed = time, landmarks, torch.zeros_like(landmarks)
            return landmarks
        step = time - self._time
        unit = float((landmarks[:2].mean(0) - landmarks[3:].mean(0)).norm()) * 2 or 1.0
        weight = _weight(step, _OF_SPEED)
        self._speed = torch.lerp(self._speed, (landmarks - self._value) / step, weight)
        cutoff = SLOWEST + QUICKENING * float(self._speed.mean(0).norm()) / unit
        self._value = torch.lerp(self._value, landmarks, _weight(step, cutoff))
        self._time = time
        return self._value


def _weight(step: float, cutoff: float) -> float:
    """Of a new value, in an exponential filter with that cutoff in Hz."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
