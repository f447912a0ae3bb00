"""A disk that refuses, as one sentence: what is kept, and that the same command goes on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from idn.errors import OptionError


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full, or a user's share of it. Libraries say it in words of their own."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


@contextmanager
def refused_disk(argument: str, folder: Path, kept: str, again: str = "run the same again") -> Iterator[None]:
    """Around work that writes piece by piece, and that the same command would continue.

    argument: the caller's own, which named the folder.
    kept: what stays of it, such as "all crops so far".
    again: how that is done.
    Raises OptionError in place of what the disk says.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or error
        what = "is on a full disk" if is_full(error) else f"cannot be written ({said})"
        raise OptionError(argument, folder, f"{what}: {kept} are kept, make room and {again}") from error
