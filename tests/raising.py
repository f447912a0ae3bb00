"""pytest.raises by the fields of an error: its sentence may be reworded without a test that breaks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from idn.errors import UserError


@contextmanager
def raises(kind: type[Exception], *naming: str, **fields: object) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect exactly this class (UserError stands for its subclasses, too) with these values of its attributes.

    naming: what its sentence must name besides, such as a file, a key or a way out; words alone are not asserted.
    """
    with pytest.raises(kind) as error:
        yield error
    assert kind in (UserError, type(error.value))
    seen = {name: getattr(error.value, name) for name in fields}
    assert _plain(seen) == _plain(fields)
    assert [name for name in naming if name not in str(error.value)] == []


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    """A path is the same path as text."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
