"""The invisible mark that says "made by a face swapper", in NumPy; the same bytes as `idn.provenance.watermark.mark`.

`idn provenance FILE` finds it again, after JPEG, cropping, resizing and video compression. To mark pictures in a
program of your own, copy this file.
"""

import functools

import numpy as np
from numpy.typing import NDArray

TILE, BLOCK, STEP = 128, 16, 4
"""Sides of the repeated pattern and of a block of one strength, and distance of the pixels that tell it, in pixels."""


@functools.cache
def tile() -> NDArray[np.int16]:
    """The pattern, (TILE, TILE): waves 5 to 16 pixels long, whose phases are the key."""
    cosine = np.floor(1024 * np.cos(2 * np.pi * np.arange(256) / 256) + 0.5).astype(np.int64)
    steps, state = 2 * np.arange(TILE), 0x1D4
    total = np.zeros((TILE, TILE), np.int64)
    for down in range(-24, 25):
        for right in range(25):
            if 8**2 <= right**2 + down**2 <= 24**2 and (right > 0 or down > 0):
                state = (state * 1664525 + 1013904223) % 2**32
                total += cosine[(right * steps[None, :] + down * steps[:, None] + (state >> 24)) % 256]
    energy = int((total * total).sum()) / TILE**2
    return np.floor(total * (30 / energy**0.5) + 0.5).clip(-127, 127).astype(np.int16)


def strengths(picture: NDArray[np.uint8]) -> NDArray[np.int16]:
    """How strong the mark is in each block, (rows, columns): more where the picture is lively and hides it."""
    red, green, blue = picture[::STEP, ::STEP].astype(np.int32).transpose(2, 0, 1)
    bright, side = (77 * red + 150 * green + 29 * blue) >> 8, BLOCK // STEP
    bright = np.pad(bright, [(0, -length % side) for length in bright.shape], mode="edge")
    blocks = bright.reshape(len(bright) // side, side, -1, side)
    sums, squares = blocks.sum((1, 3)), (blocks * blocks).sum((1, 3))
    variance = (side**2 * squares - sums * sums) / side**4
    wanted = np.floor(np.clip(19 + 2.0 * np.sqrt(variance), 19, 48))
    share = min(1.0, 29 / (np.square(wanted).sum() / wanted.size) ** 0.5)
    return np.floor(wanted * share + 0.5).astype(np.int16)


def mark(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of the picture, (H, W, 3) RGB bytes, with the mark in it. PSNR to the picture is 43 dB or more."""
    height, width = picture.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    strength = strengths(picture)[np.ix_(rows // BLOCK, columns // BLOCK)]
    change = (tile()[np.ix_(rows % TILE, columns % TILE)] * strength + 256) >> 9
    return np.clip(picture + change[..., None], 0, 255).astype(np.uint8)
