"""Spread-spectrum pattern of the invisible mark: a tile of waves whose phases are the key.

A pattern is a sum of waves of equal size, all whole numbers of periods per tile, in a band that JPEG, video codecs and
halving leave alone: 5 to 16 pixels long. It is made of whole numbers only, so that another program, in another
language, makes the same one: examples/python/swap.py and examples/javascript/watermark.js do.
"""

import functools

import numpy as np
from numpy.typing import NDArray

TILE = 128
"""Side of the pattern in pixels; it is repeated over the picture."""
LONGEST, SHORTEST = 8, 24
"""Periods per tile of the longest and the shortest wave."""
KEY = 0x1D4
"""Where the phases start; another key is another mark."""
UNIT = 30
"""Root mean square of the tile: the pattern has to fit into bytes with a sign."""
_STEPS = 256
"""Phases and angles are counted in parts of a turn as small as this."""


@functools.cache
def waves() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frequencies, (K, 2) periods per tile to the right and downwards, and phases, (K,) in 256ths of a turn.

    The phases are the high bytes of a linear congruential generator that starts with `KEY`.
    """
    found, phases, state = [], [], KEY
    for down in range(-SHORTEST, SHORTEST + 1):
        for right in range(SHORTEST + 1):
            inside = LONGEST**2 <= right**2 + down**2 <= SHORTEST**2
            if inside and (right > 0 or down > 0):  # the other half plane holds the same waves
                state = (state * 1664525 + 1013904223) % 2**32
                found.append((right, down))
                phases.append(state >> 24)
    return np.array(found), np.array(phases)


@functools.cache
def tile() -> NDArray[np.int8]:
    """(TILE, TILE): the pattern, with a root mean square of `UNIT`. Do not write into it."""
    cosine = np.floor(1024 * np.cos(2 * np.pi * np.arange(_STEPS) / _STEPS) + 0.5).astype(np.int64)
    steps = np.arange(TILE) * (_STEPS // TILE)
    total = np.zeros((TILE, TILE), np.int64)
    frequencies, phases = waves()
    for (right, down), phase in zip(frequencies, phases, strict=True):
        total += cosine[(right * steps[None, :] + down * steps[:, None] + phase) % _STEPS]
    energy = int((total * total).sum()) / TILE**2
    return np.floor(total * (UNIT / energy**0.5) + 0.5).clip(-127, 127).astype(np.int8)
