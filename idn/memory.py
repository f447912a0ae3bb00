"""The C library's allocator, told to keep what it has."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameter numbers of glibc's mallopt(3)."""


def keep_large_buffers() -> bool:
    """Stop glibc from returning large buffers to the system after each use; returns whether it took effect.

    A convolutional training step on CPU frees and asks for the same hundreds of megabytes again and again; by default
    every round pays for page faults. Does nothing where the C library is not glibc.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_TOP_PAD, 64 * 2**20)])
