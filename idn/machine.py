"""What a benchmark ran on, in one line."""

import platform
from pathlib import Path

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
    parts = [
        processor(),
        f"{torch.get_num_threads()} threads",
        f"PyTorch {torch.__version__}",
        f"Python {platform.python_version()}",
    ]
    if torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)
