"""Pixel formats of decoded frames whose planes are changed in place, as arrays."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

PLANAR = {
    f"yuv{j}{kind}p{bits}": (across, down, int(bits.removesuffix("le") or 8))
    for kind, (across, down) in {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2)}.items()
    for j, bits in (("", ""), ("j", ""), ("", "10le"), ("", "12le"))
} | {"gray": (1, 1, 8), "gray10le": (1, 1, 10)}
"""Formats whose planes are changed as they are: pixels of brightness per sample of colour, across and down; bits."""


def planes_of(frame: "VideoFrame", bits: int) -> list[NDArray[np.generic]]:
    """The planes of a frame as arrays (h, w) that share its memory."""
    kind = np.uint8 if bits == 8 else np.uint16
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // np.dtype(kind).itemsize)
        found.append(rows[:, : plane.width])
    return found
