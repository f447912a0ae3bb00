"""OptionError: from the argument of a constructor to the option of the command line that gave it."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.errors import OptionError, UserError, shown

_SAME = re.compile(r"\$\{([A-Za-z_][\w.-]*)\}")
"""An interpolation that takes over another option as it is."""

_WRAPPED = re.compile(r"^idn\.errors\.(\w+): (.+?)\s*\Z", re.MULTILINE | re.DOTALL)
"""The end of a traceback that is the text of an error."""

PROCEDURAL = "idn.data.loaders.procedural_data"
"""What draws pairs of faces."""

_ADVICE = {
    (PROCEDURAL, "template"): "data=faces data.root=DIR with crops of `idn align`",
    ("idn.data.labelled_faces.procedural_identities", "template"): (
        "encoder_data=folder encoder_data.root=DIR with crops of `idn align`"
    ),
}
"""What to type, where the words of a constructor end before the choice of a group: by constructor and argument."""


def placed(error: OptionError, config: Container, place: str) -> OptionError:
    """The error of a constructor that stands at `place` of a config, with the name of the option that a user types.

    config: any part of the whole one. An argument that takes over another option is called by that option's name.
    """
    argument, _, rest = error.argument.partition(".")
    root = config._get_root()
    option = _origin(root, f"{place}.{argument}")
    advice = _ADVICE.get((OmegaConf.select(root, f"{place}._target_", throw_on_missing=False), argument))
    wanted = error.wanted if advice is None else f"{error.wanted} ({advice})"
    return OptionError(f"{option}.{rest}" if rest else option, error.value, wanted, error.owner)


def unwrapped(error: Exception) -> Exception:
    """The UserError of any kind of a loader process, which PyTorch makes the text of a traceback; else the same."""
    found = _WRAPPED.search(str(error))
    if found is None:
        return error
    argument = re.fullmatch(r"([\w.]+)=(\S*) (.+)", found[2], re.DOTALL) if found[1] == "OptionError" else None
    return UserError(found[2]) if argument is None else OptionError(argument[1], argument[2], argument[3])


def located(error: Exception, config: DictConfig) -> Exception:
    """The error of something that was built from `config` at an earlier time, with the name of the option.

    Its owner says which part of the config that is; without one, an argument of that name and value does, if it is the
    only one. What is an option already stays as it is, unless its owner has an argument of that name, and so does what
    cannot be found, and any other error.
    """
    if not isinstance(error, OptionError):
        return error
    if _is_option(config, error.argument) and (error.owner is None or "." in error.argument):
        return error
    nodes = list(_constructors(config))
    if error.owner is not None:
        nodes = [node for node in nodes if _makes(node["_target_"], error.owner)]
    same = [node for node in nodes if _has(node, error)]
    found = (same or nodes) if error.owner is not None else same if len(same) == 1 else []
    return placed(error, config, found[0]._get_full_key(None)) if found else error


def _is_option(config: DictConfig, name: str) -> bool:
    absent = object()
    try:
        return OmegaConf.select(config, name, default=absent) is not absent
    except OmegaConfBaseException:  # it is there, and has no value
        return True


def _origin(root: Container, option: str) -> str:
    """The option that `option` takes its value over from, if it does; else itself."""
    parent, _, key = option.rpartition(".")
    try:
        node = (OmegaConf.select(root, parent) if parent else root)._get_node(key)
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError):
        return option
    same = None if node is None else _SAME.fullmatch(str(node._value()))
    return _origin(root, same[1]) if same else option


def _constructors(node: Any) -> Iterator[DictConfig]:
    """All parts of a config that say what to build, the outer before the inner."""
    if not OmegaConf.is_config(node) or node._is_none() or node._is_missing() or node._is_interpolation():
        return
    keys = node if OmegaConf.is_dict(node) else range(len(node))
    if OmegaConf.is_dict(node) and "_target_" in node:
        yield node
    for key in keys:
        yield from _constructors(node._get_node(key))


def _has(node: DictConfig, error: OptionError) -> bool:
    """Whether a part of a config gives the argument of the error the value that was refused."""
    try:
        value = OmegaConf.select(node, error.argument, default=(absent := object()))
    except OmegaConfBaseException:
        return False
    return value is not absent and shown(value) == shown(error.value)


def _makes(target: str, owner: object) -> bool:
    """Whether calling what `target` names gives the owner of an argument, or an object of that class."""
    module, _, name = target.rpartition(".")
    called = getattr(sys.modules.get(module), name, None)
    made = owner if isinstance(owner, type) or inspect.isroutine(owner) else type(owner)
    if called is made:
        return True
    if not isinstance(called, type):
        called = getattr(called, "__annotations__", {}).get("return")
    return isinstance(called, type) and isinstance(made, type) and issubclass(made, called)
