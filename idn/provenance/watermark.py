"""Invisible watermark: writes the mark that says "made by a face swapper" into pixels, where metadata gets lost.

Brightness gets a fixed pattern (idn/provenance/pattern.py) added, stronger where a block of 16 x 16 pixels is lively
and hides more. Whoever knows the pattern finds it again: idn/provenance/watermark_search.py. It proves nothing by its
absence.
Everything is counted in whole numbers, so that the clients of examples/ write the very same bytes.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from idn.provenance.pattern import TILE, tile

BLOCK = 16
"""Side of a block with one strength, in pixels."""
STEP = 4
"""Every so many pixels, brightness is looked at to tell how lively a block is."""
LEAST, MOST = 19, 48
"""Strength of the calmest and of the liveliest block, in 30/512 of a grey level (root mean square)."""
LIVELY = 2.0
"""What a standard deviation of one grey level adds to the strength of a block."""
LIMIT = 29
"""Strength of the whole picture (root mean square): lively pictures get less everywhere, so that PSNR is over 43 dB."""
STUDIO = 219 / 255
"""Grey levels of a video's brightness in the limited range, where 16 is black and 235 white, per one of a picture's."""


def mark(pixels: NDArray[np.uint8], limited_range: bool = False) -> NDArray[np.uint8]:
    """Add the mark to a picture, or to a frame of a video. 2 ms of a processor core for 1280 x 720.

    pixels: (H, W, 3) uint8 RGB, or (H, W) uint8, brightness alone, such as the first plane of a video frame. With one
        channel more, (H, W, 4) or (H, W, 2), the last one is the opacity. Left as they are.
    limited_range: whether 16 is black and 235 white, as in most videos' brightness.
    Returns the same shape.
    """
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        colours = pixels[..., :3] if pixels.shape[2] == 4 else pixels[..., 0]
        return np.dstack([mark(colours, limited_range), pixels[..., -1]])
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    marked, buffer = np.empty_like(rows), np.empty((BLOCK, width * channels), np.int16)
    strengths, pattern = _strengths(pixels, limited_range), _pattern(width, channels)
    for index, top in enumerate(range(0, height, BLOCK)):  # a row of blocks fits into the processor's cache
        given = rows[top : top + BLOCK]
        sums, place = buffer[: len(given)], top % TILE
        wide = np.repeat(strengths[index], BLOCK * channels)[: width * channels]
        np.multiply(pattern[place : place + len(given)], wide, out=sums)
        sums += 256
        sums >>= 9
        sums += given
        np.clip(sums, 0, 255, out=sums)
        np.copyto(marked[top : top + BLOCK], sums, casting="unsafe")
    return marked.reshape(pixels.shape)


@functools.lru_cache(maxsize=4)
def _pattern(width: int, channels: int) -> NDArray[np.int16]:
    """(TILE, width * channels): a row of tiles, each pixel as often as a picture has channels. Do not write into it."""
    row = np.tile(tile().astype(np.int16), (1, -(-width // TILE)))[:, :width]
    return row.repeat(channels, 1)


def _strengths(pixels: NDArray[np.uint8], limited_range: bool) -> NDArray[np.int16]:
    """(rows, columns) of blocks: how strong the mark is in each."""
    bright = pixels[::STEP, ::STEP].astype(np.int32)
    if bright.ndim == 3:
        bright = (77 * bright[..., 0] + 150 * bright[..., 1] + 29 * bright[..., 2]) >> 8
    side = BLOCK // STEP
    bright = np.pad(bright, [(0, -length % side) for length in bright.shape], mode="edge")
    sums, squares = (_block_sums(values, side) for values in (bright, bright * bright))
    variance = (side**2 * squares - sums * sums) / side**4
    strengths = np.floor(np.clip(LEAST + LIVELY * np.sqrt(variance), LEAST, MOST))
    mean = np.square(strengths).sum() / strengths.size
    share = min(1.0, LIMIT / mean**0.5) * (STUDIO if limited_range else 1.0)
    return np.floor(strengths * share + 0.5).astype(np.int16)


def _block_sums(values: NDArray[np.int32], side: int) -> NDArray[np.int32]:
    """(rows, columns): sums over blocks of side x side values."""
    rows = sum(values[start::side] for start in range(side))
    return sum(rows[:, start::side] for start in range(side))
