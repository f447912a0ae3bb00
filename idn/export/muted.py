"""Native libraries that talk to the terminal behind Python's back."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from idn.export.quiet import quiet


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """As `quiet`, and keep back what anything in this process writes to standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
