"""One measurement in a process of its own: `python -m idn.export.bench.worker REQUEST`, both ways JSON.

A process per measurement, because thread counts and allocators are set once, and so that its memory is its own.
"""

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from idn.export.bench.latency import measure
from idn.export.formats import format_named
from idn.hardware import keep_large_buffers
from idn.students.protocol import SwapStudent
from idn.students.student_file import build_student, load_student

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process about its memory, and where it is asked to forget the peak."""


class Request(NamedTuple):
    """What to measure. Paths are texts, so that it travels as JSON."""

    subject: str
    """One of what the student's deployment has to time, or the name of a file."""
    threads: int
    seconds: float
    size: int
    """Of the target, in pixels."""
    student: str | Mapping[str, Any] = ""
    """Its file, or what to build one of random weights from; not asked for a file."""
    module: str | None = None
    """Where its class is defined, for one that is not installed."""
    file: str | None = None
    format: str | None = None
    shapes: Sequence[Sequence[int]] = ()
    """Of the file's inputs."""


class Outcome(NamedTuple):
    """What was measured."""

    median_ms: float
    p95_ms: float
    calls: int
    peak_mb: float | None
    """Growth of the process's largest memory from before the network was loaded; None where the system does not say."""


def run(request: Request) -> Outcome:
    """Load, warm up, measure. Raises UserError if the file cannot be loaded."""
    torch.set_num_threads(request.threads)
    if request.module is not None:
        import_module(request.module)
    keep_large_buffers()
    form = None if request.format is None else format_named(request.format)
    before = _forget_peak()
    if form is not None:
        draw = np.random.default_rng(0)
        inputs = [draw.random(shape, dtype=np.float32) for shape in request.shapes]
        runner = form.open(Path(request.file), request.threads)
        latency = measure(lambda: runner(*inputs), request.seconds)
    else:
        with torch.inference_mode():
            subject = student_of(request.student).deployment().timed(request.size)[request.subject]()
            latency = measure(subject, request.seconds)
    after = _peak()
    grown = None if before is None or after is None else max(0.0, after - before)
    return Outcome(latency.median, latency.p95, latency.calls, grown)


def _forget_peak() -> float | None:
    """Start the measurement of memory; returns what is resident now, in MB, where the system says."""
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it: the peak is that of the process
        FORGET.write_text("5")
    return _peak()


def _peak() -> float | None:
    """Largest resident memory since then, or since the process began, in MB; None where the system does not say."""
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def student_of(known: str | Mapping[str, Any]) -> SwapStudent:
    """The student of a file, or one of random weights, always the same, of a description by `describe_student`."""
    if isinstance(known, str):
        return load_student(known).eval()
    torch.manual_seed(0)
    return build_student(known).eval()


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    print(json.dumps(run(Request(**json.loads(sys.argv[1])))._asdict()))
