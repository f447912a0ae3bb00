"""Detection of the invisible watermark: a matched filter over shifts, sizes and orientations, and its chance of error.

The picture's waves at the frequencies of the pattern (idn/provenance/pattern.py) are compared with the pattern's
phases. In a picture that was made without the key those agree by chance only: whatever its waves X_k are, the sum of
|X_k| cos(angle) over independent random angles exceeds z standard deviations with a probability of at most
exp(-z^2 / 2): the mean of exp(t cos(angle)) is I0(t) <= exp(t^2 / 4), the rest is Chernoff's bound. Times the number of
places that are tried, this bounds the probability that a picture without the mark is called marked, whatever it shows.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idn.provenance.pattern import SHORTEST, TILE, waves

Floats = NDArray[np.float32]

CHANCE = 1e-6
"""Probability of a chance hit below which a mark counts as found."""
FINE, COARSE, HOOD = 3, 15, 9
"""Sides in pixels of the means between which the waves lie, and of the neighbourhood in which they are made equal."""
SOFT = 2.0
"""Grey levels that are added to their deviation there, so that nothing is made of flat areas."""
WINDOW = 1024
"""Side in pixels of the middle of a picture, in which other sizes are looked for."""
SIZES = tuple(np.exp(np.arange(-240, 201) * 0.004))
"""Scales that are tried: 0.38 to 2.2 times the size that was marked."""
_UPRIGHT = [np.array([[1, 0], [0, 1]]), np.array([[-1, 0], [0, 1]])]
"""(2, 2) each, from frequencies of the pattern to those of the picture: as it was, and its mirror image."""
_TURNED = [turn @ np.array([[a, b], [-b, a]]) for turn in _UPRIGHT for a, b in ((1, 0), (0, 1), (-1, 0), (0, -1))]
"""Quarter turns of both."""
_FEW = 16
"""Spectra that are compared together."""
_SMOOTH = 64
"""Lengths of Fourier transforms are multiples of it, which are fast."""


class Finding(NamedTuple):
    """What the search for the mark said."""

    score: float
    """Agreement with the pattern at the best place, in standard deviations of chance."""
    probability: float
    """Upper bound of the probability that an unmarked picture reaches this score anywhere that was looked."""
    scale: float
    """Size now, compared with the size when it was marked, at the best place."""

    @property
    def found(self) -> bool:
        """Whether chance is out of the question: `probability` is at most `CHANCE`."""
        return self.probability <= CHANCE


def find_mark(pictures: Iterable[NDArray[np.uint8]], resized: bool = True) -> Finding:
    """Look for the mark in a picture, or in several frames of one video, which are taken together.

    pictures: (H, W, 3) uint8 RGB or (H, W) uint8 brightness each, all of one size; read one at a time.
    resized: whether to look for other sizes, too, where the picture's own does not tell; takes 0.1 to 0.2 s.
        Mirror images are found at any size, quarter turns at the picture's own.
    Raises ValueError for no picture and for pictures of several sizes.
    """
    total: Floats | None = None
    for pixels in pictures:
        equalised = _equalised(pixels)
        if total is not None and total.shape != equalised.shape:
            raise ValueError(f"frames of {total.shape} and {equalised.shape} pixels: give those of one video")
        total = equalised if total is None else total + equalised
    if total is None:
        raise ValueError("there is no picture to look at")
    here = _judge(float(_agreement(_spectrum(total)[None], _TURNED)[0]), 1.0, len(_TURNED))
    if here.found or not resized:
        return here
    scores = _agreement(_resized_spectra(total), _UPRIGHT)
    best = int(scores.argmax())
    other = _judge(float(scores[best]), float(SIZES[best]), len(SIZES) * len(_UPRIGHT))
    return min(here, other, key=lambda finding: finding.probability)


def _judge(score: float, scale: float, tries: int) -> Finding:
    """The finding for the best score of so many trials of all shifts. The picture's own size has half of the chance."""
    logarithm = math.log(2 * tries * TILE**2) - score**2 / 2
    return Finding(score, math.exp(min(logarithm, 0.0)), scale)


def _equalised(pixels: NDArray[np.uint8]) -> Floats:
    """(H, W): the waves of a picture that the pattern could hold, about equally strong everywhere."""
    if pixels.ndim == 3:  # one channel at a time: an 8K picture has 33 million pixels
        grey = sum(np.float32(weight / 256) * pixels[..., index] for index, weight in enumerate((77, 150, 29)))
    else:
        grey = pixels.astype(np.float32)
    between = _mean(grey, FINE) - _mean(grey, COARSE)
    return between / (np.sqrt(_mean(between * between, HOOD).clip(0)) + np.float32(SOFT))


def _mean(values: Floats, side: int) -> Floats:
    """(H, W): mean of each pixel's neighbourhood of side x side pixels, as far as there are any."""
    for _ in range(2):
        values = np.ascontiguousarray(_mean_of_columns(values, side).T)
    return values


def _mean_of_columns(values: Floats, side: int) -> Floats:
    """The same for neighbourhoods one pixel wide and `side` high."""
    height, half = len(values), side // 2
    sums = np.zeros((height + 1, values.shape[1]))
    np.cumsum(values, 0, out=sums[1:])
    ends, starts = (np.clip(np.arange(height) + shift, 0, height) for shift in (half + 1, -half))
    return ((sums[ends] - sums[starts]) / (ends - starts)[:, None]).astype(np.float32)


def _spectrum(values: Floats) -> NDArray[np.complex64]:
    """(K,): the amounts of the pattern's waves in a picture of the size that was marked."""
    height, width = values.shape
    right, down = np.arange(SHORTEST + 1), np.arange(-SHORTEST, SHORTEST + 1)
    across = np.outer(np.arange(width), right) % TILE * (-2 * math.pi / TILE)
    along = np.outer(down, np.arange(height)) % TILE * (-2 * math.pi / TILE)
    halves = values @ np.cos(across).astype(np.float32) + 1j * (values @ np.sin(across).astype(np.float32))
    amounts = np.exp(1j * along) @ halves
    frequencies, _ = waves()
    return amounts[frequencies[:, 1] + SHORTEST, frequencies[:, 0]].astype(np.complex64)


def _resized_spectra(values: Floats) -> NDArray[np.complex64]:
    """(scales, K): the same for every scale of `SIZES`, by one Fourier transform of the middle of the picture."""
    height, width = values.shape
    top, left = max(0, height - WINDOW) // 2, max(0, width - WINDOW) // 2
    middle = values[top : top + WINDOW, left : left + WINDOW]
    rows, columns = middle.shape
    high, wide = (-(-2 * length // _SMOOTH) * _SMOOTH for length in middle.shape)
    padded = np.zeros((high, wide), np.float32)
    padded[:rows, :columns] = middle
    padded = np.roll(padded, (-(rows // 2), -(columns // 2)), (0, 1))  # phases between two bins then hardly turn
    amounts = np.fft.rfft2(padded)
    frequencies, _ = waves()
    right, down = (
        np.rint(frequencies[:, axis] / TILE * length / np.array(SIZES)[:, None]).astype(np.int32)
        for axis, length in ((0, wide), (1, high))
    )
    inside = (right <= wide // 2) & (abs(down) < high // 2)
    return (amounts[down * inside, right * inside] * inside).astype(np.complex64)


def _agreement(spectra: NDArray[np.complex64], turns: Sequence[NDArray[np.int64]]) -> Floats:
    """(N,): best agreement of N spectra, (N, K), with the pattern over all its shifts and some orientations.

    It is counted in standard deviations of chance.
    Waves that stick out, as those of textures do, count no more than half as much again as the middle one.
    """
    return np.concatenate([_of_few(spectra[at : at + _FEW], turns) for at in range(0, len(spectra), _FEW)])


def _of_few(spectra: NDArray[np.complex64], turns: Sequence[NDArray[np.int64]]) -> Floats:
    """The same of few enough for the processor's cache."""
    size = np.abs(spectra)
    spectra = spectra * (np.minimum(size, 1.5 * _middle(size)) / np.maximum(size, np.float32(1e-12)))
    frequencies, phases = waves()
    whole = np.zeros((len(spectra), TILE, TILE), np.complex64)
    whole[:, frequencies[:, 1], frequencies[:, 0]] = spectra
    whole[:, -frequencies[:, 1], -frequencies[:, 0]] = spectra.conj()
    against = np.exp(-2j * np.pi * phases / 256).astype(np.complex64)
    axis = frequencies[:, 0] == 0
    best = np.zeros(len(spectra), np.float32)
    for turn in turns:
        right, down = turn @ frequencies.T
        products = whole[:, down, right] * against
        half = np.zeros((len(spectra), TILE, SHORTEST + 1), np.complex64)  # the other columns hold no wave
        half[:, frequencies[:, 1], frequencies[:, 0]] = products
        half[:, -frequencies[axis, 1], 0] = products[:, axis].conj()
        shifted = np.fft.irfft(np.fft.ifft(half, axis=1), TILE, axis=2)
        best = np.maximum(best, shifted.max((1, 2)))
    chance = np.sqrt(np.square(np.abs(spectra)).sum(1) / 2)
    return best * np.float32(TILE**2 / 2) / np.maximum(chance, np.float32(1e-12))


def _middle(size: Floats) -> Floats:
    """(N, 1): median of the numbers above 0 in each row of (N, K); 0 where there are none."""
    ordered, none = np.sort(size, 1), (size == 0).sum(1, keepdims=True)
    count = size.shape[1] - none
    low, high = (np.minimum(none + place, size.shape[1] - 1) for place in ((count - 1) // 2, count // 2))
    return (np.take_along_axis(ordered, low, 1) + np.take_along_axis(ordered, high, 1)) / 2
