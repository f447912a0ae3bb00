"""Hardware: device choice, a one-line description of the machine for benchmarks, the allocator (mallopt)."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from idn.errors import OptionError

if TYPE_CHECKING:
    import torch


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def describe() -> str:
    """Processor, threads, GPU, versions."""
    import torch

    parts = [
        processor(),
        f"{torch.get_num_threads()} threads",
        f"PyTorch {torch.__version__}",
        f"Python {platform.python_version()}",
    ]
    if torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def choose_device(name: str) -> "torch.device":
    """The device that the option `device` names: "auto" takes a GPU if there is one, else the CPU; "cuda:1" the second.

    Raises OptionError if it is not there.
    """
    import torch

    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise _refusal(name) from error
    if device.type == "meta":
        raise _refusal(name)
    return device


def _refusal(name: str) -> OptionError:
    return OptionError("device", name, "is not available here: choose auto, cpu, or cuda where there is a GPU")


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


def is_helper() -> bool:
    """Whether this process trains on another device for the same run than its first one, by whoever started it."""
    return next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0") != "0"
