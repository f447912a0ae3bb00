"""Numbers that a user gave for an option: as they should be, or one sentence with the option's name."""

import math

from idn.errors import UserError


def require_int(option: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise UserError unless `value` is a whole number from `least` on, up to `most` if that is given too."""
    if not isinstance(value, int) or isinstance(value, bool) or not _within(value, least, most):
        raise _refusal(option, value, "a whole number", least, most)


def require_number(option: str, value: object, least: float | None = None, most: float | None = None) -> None:
    """The same for any finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _within(value, least, most):
        raise _refusal(option, value, "a number", least, most)


def require_callable(option: str, value: object) -> None:
    """Raise UserError unless `value` is something to call, as configs describe it, or None for nothing."""
    if value is not None and not callable(value):
        raise UserError(f"{option}={value} must be null, or left as it is and changed by its own options")


def _within(value: float, least: float | None, most: float | None) -> bool:
    finite = isinstance(value, int) or math.isfinite(value)
    return finite and (least is None or value >= least) and (most is None or value <= most)


def _refusal(option: str, value: object, what: str, least: float | None, most: float | None) -> UserError:
    ends = "" if least is None else f", at least {least}" if most is None else f" from {least} to {most}"
    return UserError(f"{option}={'null' if value is None else value} must be {what}{ends}")
