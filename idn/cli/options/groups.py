"""Groups of options that are given as a whole: null, where nothing can do without them, or one value for several."""

import inspect
from collections.abc import Collection, Iterable

from hydra.core.override_parser.types import Override
from hydra.utils import get_object
from omegaconf import DictConfig

from idn.cli.options.types import selected
from idn.errors import UserError, shown

OPTIONAL = ("callbacks", "logger", "recogniser", "landmarks", "lpips", "inception")
"""Groups that may be null, beside those that are where nothing is said."""
MEMBERS = ("callbacks", "logger", "edits", "networks", "stages")
"""Groups of which any member may be null, which leaves it out."""


def check_groups(
    verb: str, overrides: Iterable[Override], default: DictConfig, plain: DictConfig, files: Collection[str]
) -> None:
    """Raise UserError for a group that is null or deleted and must not be, and for one that is given a single value.

    default, plain: the verb's config with what chooses files of groups alone, and with no options at all. files: the
    groups of which it takes files, for which Hydra looks up a value.
    """
    for override in overrides:
        name, value = override.key_or_group, None if override.is_delete() else override.value()
        group = selected(plain if override.is_delete() else default, name)
        chosen = not override.is_delete() and (name in files or isinstance(value, dict))
        if not isinstance(group, DictConfig) or override.is_add() or chosen:
            continue
        example = _first(name, group)
        if value is not None:
            raise UserError(f"{name}={shown(value)} stands for several options: give those, as in {example}")
        if not _dispensable(name, default, plain):
            given = f"~{name}" if override.is_delete() else f"{name}=null"
            raise UserError(
                f"{given} leaves idn {verb} without what it needs: leave it out, or change its options, as in {example}"
            )


def _first(name: str, group: DictConfig) -> str:
    """How an option of a group is given."""
    own = [key for key in map(str, group) if not key.startswith("_")]
    return f"{name}.{own[0] if own else 'NAME'}=VALUE"


def _dispensable(name: str, default: DictConfig, plain: DictConfig) -> bool:
    """Whether a group may be null: it is by default, is a member of one that holds any, or its constructor says so."""
    parent, _, key = name.rpartition(".")
    if parent in MEMBERS or name in OPTIONAL or (not parent and selected(plain, name) is None):
        return True
    target = selected(default, f"{parent}._target_") if parent else None
    return target is not None and "None" in str(_annotation(target, key))


def _annotation(target: str, argument: str) -> object:
    """What a constructor says of one of its arguments; nothing where it has none of that name."""
    known = inspect.signature(get_object(target)).parameters.get(argument)
    return None if known is None else known.annotation
