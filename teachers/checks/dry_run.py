"""One run on noise, when a teacher is made of a file that nobody here wrote: does it answer as its record says?"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import FileError, OptionError, UserError
from teachers.record import TeacherRecord

_BATCH = 3
_LONG = 250
_FAILURES = (RuntimeError, AssertionError, ValueError, TypeError)
"""What a runtime raises for inputs that do not fit."""

Run = Callable[[Tensor, Tensor], Tensor]
"""(N, 3, s, s) targets, as the network wants them, and N identities -> (N, 3, s, s)."""


def check_sizes(record: TeacherRecord) -> None:
    """Raise OptionError unless the record says how large the network wants its pictures, which its file does not."""
    crop = record.source.crop
    for argument, needed, size in (
        ("record.target.size", True, record.target.size),
        ("record.source.crop.size", crop is not None, crop and crop.size),
    ):
        if needed and size is None:
            raise OptionError(argument, None, "must be a number of pixels, for a teacher from a file")


@torch.no_grad()
def dry_run(run: Run, record: TeacherRecord, path: Path, options: str) -> None:
    """Noise in, another strength per sample: the answer must fit, be finite and treat every sample by itself.

    record: with the sizes of target and source. path: of its file. options: those to check if it fails.
    Raises UserError that says which of them to set.
    """
    generator = torch.Generator().manual_seed(0)
    size, spec, count = record.target.size, record.source, _BATCH if record.batchable else 1
    target = torch.rand(count, 3, size, size, generator=generator)
    target = target * torch.linspace(0.2, 1, count).view(-1, 1, 1, 1)
    if spec.crop is None:
        given = F.normalize(torch.randn(count, spec.dim, generator=generator))
    else:
        given = torch.rand(count, 3, spec.crop.size, spec.crop.size, generator=generator)
    answer = _attempt(run, target, given, path, options)
    if answer.shape != target.shape:
        raise FileError(
            path,
            f"answers {tuple(answer.shape)} to targets {tuple(target.shape)}: set record.target.size to its "
            "working size",
        )
    if not answer.isfinite().all():
        raise FileError(path, "answers with numbers that are not finite: it cannot teach")
    if record.batchable:
        fewer = _attempt(run, target[:-1], given[:-1], path, options)
        if not torch.allclose(fewer, answer[:-1], rtol=1e-2, atol=1e-2):
            raise FileError(
                path, "answers differently when the batch changes: save it in eval mode, or set record.batchable=false"
            )


def _attempt(run: Run, target: Tensor, given: Tensor, path: Path, options: str) -> Tensor:
    try:
        return run(target, given)
    except UserError:
        raise
    except _FAILURES as error:
        hint = f"check {options}"
        if len(target) > 1 and _works_alone(run, target, given):
            hint = "it takes one face at a time, so set record.batchable=false"
        raise FileError(
            path,
            f"fails on targets {tuple(target.shape)} and identities {tuple(given.shape)} ({reason(error)}): {hint}",
        ) from error


def _works_alone(run: Run, target: Tensor, given: Tensor) -> bool:
    try:
        run(target[:1], given[:1])
    except _FAILURES:
        return False
    return True


def reason(error: Exception) -> str:
    """A message in one line; of a long one the last line, which says what went wrong after a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    joined = " ".join(lines)
    return joined if len(joined) <= _LONG else lines[-1][:_LONG]
