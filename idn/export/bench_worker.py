"""One measurement in a process of its own: `python -m idn.export.bench_worker REQUEST`, both ways JSON.

A process per measurement, because thread counts and allocators are set once, and so that its memory is its own.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from idn.export.formats.registry import format_named
from idn.export.latency import measure
from idn.hardware import keep_large_buffers
from idn.students.mobilefaceswap.static_graph import baked
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student
from idn.types import EncoderDescription

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process about its memory, and where it is asked to forget the peak."""


class Request(NamedTuple):
    """What to measure. Paths are texts, so that it travels as JSON."""

    subject: str
    """A name of `SUBJECTS`, or that of a file."""
    threads: int
    seconds: float
    size: int
    """Of the target, in pixels."""
    student: str | None = None
    """Its file; None for random weights, which are as fast."""
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
            latency = measure(SUBJECTS[request.subject](request), request.seconds)
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


def _student(request: Request) -> Student:
    torch.manual_seed(0)
    student = Student(EncoderDescription(128, 512)) if request.student is None else load_student(request.student)
    return student.eval()


def _identity(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    dim, channels, side = student.injection.expected
    return F.normalize(torch.rand(1, dim) - 0.5), torch.rand(1, channels, side, side)


def _published(request: Request) -> Callable[[], object]:
    student = _student(request)
    static, target = student.bake(*_identity(student)), torch.rand(1, 3, request.size, request.size)
    return lambda: static(target)


def _rewritten(request: Request, compiled: bool = False) -> Callable[[], object]:
    student = _student(request)
    network = baked(student.bake(*_identity(student)), request.size)
    module = network.module.to(memory_format=torch.channels_last)
    target = network.inputs["target"].contiguous(memory_format=torch.channels_last)
    if compiled:
        module = torch.compile(module)
    return lambda: module(target)


def _compiled(request: Request) -> Callable[[], object]:
    return _rewritten(request, compiled=True)


def _injection(request: Request) -> Callable[[], object]:
    student = _student(request)
    identity = _identity(student)
    return lambda: student.inject(*identity)


def _baking(request: Request) -> Callable[[], object]:
    student = _student(request)
    identity = _identity(student)
    return lambda: baked(student.bake(*identity), request.size)


SUBJECTS: dict[str, Callable[[Request], Callable[[], object]]] = {
    "torch eager": _published,
    "torch rewritten": _rewritten,
    "torch compiled": _compiled,
    "inject identity": _injection,
    "inject and bake": _baking,
}
"""PyTorch itself: the published order of operations, the rewritten one in channels-last, the same compiled; and what a
new identity takes: the prediction of the weights, and the network with them in place."""


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    print(json.dumps(run(Request(**json.loads(sys.argv[1])))._asdict()))
