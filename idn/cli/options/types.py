"""What the values of options must be, as far as that can be said before anything is built."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.errors import UserError, shown

NUMBER_OR_WORD = ("trainer.devices",)
"""Options whose default is a number, but which may be a word such as auto, or a list."""

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "trainer.max_steps": (1, math.inf),
    "trainer.val_check_interval": (1, math.inf),
    "trainer.accumulate_grad_batches": (1, math.inf),
    "trainer.log_every_n_steps": (0, math.inf),
    "trainer.gradient_clip_val": (0, math.inf),
}
"""Least and largest value of options that Lightning would refuse late, or without their name; ours check themselves."""

FOREIGN = ("trainer.", "optim.", "teacher.")
"""Beginnings of options that libraries and published networks read, some of which know more than true and false."""

NULLABLE = ("trainer.gradient_clip_val",)
"""Those of RANGES that may be null."""


def check_typed(overrides: Iterable[Override], default: DictConfig) -> None:
    """Raise UserError for a value of another kind than the default: a word for a number, a number for true or false.

    default: the config without the overrides. Its values stand for the types that the constructors declare, which
    could only be read by importing them, for seconds: a test compares the two.
    """
    for override in overrides:
        name, value = override.key_or_group, override.value()
        usual = selected(default, name)
        several = isinstance(value, list | dict)
        if several and isinstance(usual, bool | int | float) and name not in NUMBER_OR_WORD:
            raise UserError(
                f"{name}={shown(value)} is more than one value: it is {shown(usual)} where nothing is given"
            )
        if "${" in str(value) or override.is_delete():
            continue
        if (
            isinstance(usual, ListConfig)
            and name.startswith("optim.")
            and (not isinstance(value, list) or len(value) != len(usual))
        ):
            raise UserError(f"{name}={shown(value)} is no list of {len(usual)} numbers, such as {shown(list(usual))}")
        if isinstance(usual, bool) and not isinstance(value, bool):
            if isinstance(value, str | float) or not name.startswith(FOREIGN):
                raise UserError(f"{name}={shown(value)} is neither true nor false")
            continue
        if isinstance(usual, int | float) and isinstance(value, bool) != isinstance(usual, bool):
            raise UserError(f"{name}={shown(value)} is not a number: it is {usual} where nothing is given")
        if not isinstance(value, str | float):
            continue
        if isinstance(value, str) and isinstance(usual, int | float) and name not in NUMBER_OR_WORD:
            raise UserError(f"{name}={value} is not a number: it is {usual} where nothing is given")
        if isinstance(usual, int) and isinstance(value, float) and not value.is_integer():
            raise UserError(f"{name}={value} is not a whole number: it is {usual} where nothing is given")


def check_ranges(config: DictConfig) -> None:
    """Raise UserError for an option of RANGES that has a value outside."""
    for name, (least, most) in RANGES.items():
        value = selected(config, name, absent := object())
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is absent or (value is None and name in NULLABLE) or (number and least <= value <= most):
            continue
        ends = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise UserError(f"{name}={'null' if value is None else value} must be {'' if number else 'a number, '}{ends}")


def selected(config: DictConfig, name: str, absent: Any = None) -> Any:
    """The value of an option, or `absent` if it is not there, has none yet, or hangs on something that nobody knows."""
    try:
        return OmegaConf.select(config, name, default=absent)
    except OmegaConfBaseException:
        return absent


def leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """All options of a config that hold a value themselves, by their names with dots."""
    for key in config:
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield from leaves(node, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", node
