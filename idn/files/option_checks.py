"""Checks of argument values, which raise OptionError: numbers, yes or no, callables, words of a list."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from idn.errors import OptionError

_LARGEST = 2**31 - 1
"""Of whole numbers that know no other end: what counts with them takes no more bits."""


def require_int(argument: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise OptionError unless `value` is a whole number from `least` on, up to `most`; by default to 2**31 - 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not _within(value, least, most):
        raise OptionError(argument, value, f"must be a whole number{_ends(least, most)}")
    if most is None and abs(value) > _LARGEST:
        raise OptionError(argument, value, f"must be at most {_LARGEST}")


def require_number(argument: str, value: object, least: float | None = None, most: float | None = None) -> None:
    """The same for any finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _within(value, least, most):
        raise OptionError(argument, value, f"must be a number{_ends(least, most)}")


def require_divisor(argument: str, value: object, of: str, whole: int, times: int = 1) -> None:
    """Raise OptionError unless `value` is a whole number that divides `whole`, the value of the argument `of`, into
    `times` parts or more."""
    require_int(argument, value, 1)
    quotient, rest = divmod(whole, value)
    if rest or quotient < times:
        wanted = f"must divide {of}, which is {whole}" + (f", into {times} parts or more" if times > 1 else "")
        raise OptionError(argument, value, wanted)


def require_bool(argument: str, value: object) -> None:
    """Raise OptionError unless `value` is True or False: other words, such as "no", would pass for a yes."""
    if not isinstance(value, bool):
        raise OptionError(argument, value, "must be true or false")


def require_callable(argument: str, value: object) -> None:
    """Raise OptionError unless `value` is something to call, as configs describe it, or None for nothing."""
    if value is not None and not callable(value):
        raise OptionError(argument, value, "must be null, or left as it is and changed by its own options")


def require_file(argument: str, path: Path) -> None:
    """Raise OptionError if no file can be written at `path`: it is a folder, or a file is in the way of its folder.

    Asked before work that would be lost otherwise.
    """
    if path.is_dir():
        raise OptionError(argument, path, "is a folder: give a file")
    if (around := next(parent for parent in path.absolute().parents if parent.exists())).is_file():
        raise OptionError(argument, path, f"cannot be written, because {around} is a file: give another one")


def require_words(argument: str, value: object) -> None:
    """Raise OptionError unless `value` is a list of words."""
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or not all(isinstance(word, str) for word in value):
        raise OptionError(argument, value, "must be a list of words, such as [seed=1]")


def require_one_of(argument: str, value: object, known: Collection[str]) -> None:
    """Raise OptionError unless `value` is one of the words `known`, which the error lists in order."""
    if not isinstance(value, str) or value not in known:
        raise OptionError(argument, value, f"is unknown: choose one of {', '.join(sorted(known))}")


def _within(value: float, least: float | None, most: float | None) -> bool:
    finite = isinstance(value, int) or math.isfinite(value)
    return finite and (least is None or value >= least) and (most is None or value <= most)


def _ends(least: float | None, most: float | None) -> str:
    return "" if least is None else f", at least {least}" if most is None else f" from {least} to {most}"
