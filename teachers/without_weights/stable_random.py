"""Random draws that follow from what is drawn for: the same pair gets the same number wherever and whenever."""

import torch
from torch import Tensor


def hash_rows(content: Tensor, seed: int, salt: int) -> Tensor:
    """(N, K) int64 -> (N,) int64 with well-mixed bits: every number goes through the finaliser of splitmix64."""
    state = torch.full_like(content[:, 0], (seed * 8 + salt) % 2**62)
    for column in content.unbind(1):
        state = _mix(state + column)
    return _mix(state)


def _mix(bits: Tensor) -> Tensor:
    """One step of splitmix64 (Steele et al. 2014) on (N,) int64, which wraps like unsigned numbers."""
    bits = bits + _signed(0x9E3779B97F4A7C15)
    bits = (bits ^ shift(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ shift(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ shift(bits, 31)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def shift(bits: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros: torch repeats the sign."""
    return (bits >> places) & (2 ** (64 - places) - 1)


def unit(bits: Tensor) -> Tensor:
    """(N,) int64 -> (N,) float64 in [0, 1)."""
    return shift(bits, 11).double() / 2**53
