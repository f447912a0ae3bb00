"""A disk that refuses, as one sentence: what is kept, and that the same command goes on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from idn.errors import OptionError


@contextmanager
def refused_disk(argument: str, folder: Path, kept: str) -> Iterator[None]:
    """Around work that writes piece by piece, and that the same command would continue.

    argument: the caller's own, which named the folder.
    kept: what stays of it, such as "all crops so far".
    Raises OptionError in place of what the disk says.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        what = "is on a full disk" if full else f"cannot be written ({getattr(error, 'strerror', None) or error})"
        raise OptionError(argument, folder, f"{what}: {kept} are kept, make room and run the same again") from error
