"""What `idn VERB --help` prints: how the verb is used, and every option with its value and what it means."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.cli.config_tree import conf_dir
from idn.cli.options.composition import choices, composed, text_of
from idn.cli.options.config_comments import chosen_files, comments, template, title
from idn.cli.options.near_misses import check
from idn.cli.options.overrides import combinations
from idn.cli.options.types import leaves

Chosen = dict[str, str | list[str] | None]
"""By group, the name of the chosen file, or of several, or nothing."""

_INDENT, _NAMES, _LEAST, _MOST = 2, 34, 60, 160
"""Columns: before a line, for name=value, and of a terminal at least and at most."""


def help_text(verb: str, options: Sequence[str]) -> str:
    """The help of a verb, with the values that its options have beside `options`.

    Raises UserError if these do not make a config of the verb.
    """
    options = combinations(verb, options)[0]
    check(verb, options)
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _LEAST), _MOST)
    config, settings = composed(verb, options)
    chosen = _chosen(verb, options, settings)
    return "\n".join([template(verb), "", *_blocks(verb, config, settings, chosen, comments(verb, options), width)])


def _chosen(verb: str, options: Sequence[str], settings: DictConfig) -> Chosen:
    """By group, what is chosen, in the order in which the verb lists its groups."""
    choices = settings.runtime.choices.items()  # with @: what a file takes from another group
    found = {group: name for group, name in choices if "hydra/" not in group and "@" not in group}
    entries = [entry for entry in OmegaConf.load(conf_dir() / f"{verb}.yaml").defaults if OmegaConf.is_dict(entry)]
    files = [Path(default.config_path) for default in chosen_files(verb, options)]
    for entry in entries:
        for group in entry:
            names = [path.name for path in files if path.parent.name == group]
            if OmegaConf.is_list(entry[group]) or (names and found.get(group) is None):  # several were chosen
                found[group] = names
    return dict(reversed(found.items()))


def _blocks(
    verb: str, config: DictConfig, settings: DictConfig, chosen: Chosen, known: dict[str, str], width: int
) -> Iterator[str]:
    """Lines for the options of the verb itself, then for those of each of its groups."""
    own, grouped = [], {group: [] for group in chosen}
    for name, node in leaves(config):
        if not name.rpartition(".")[2].startswith("_") and "${hydra:" not in str(node._value()):
            grouped.get(name.split(".")[0], own).append((name, node))
    yield "config (change any value as key=value):"
    if example := next(filter(None, (_example(verb, settings, group, chosen) for group in ("data", *chosen))), None):
        yield f"  options of another choice: idn {verb} {example} --help"
    yield ""
    own = [(name, node) for name, node in own if "." not in name or not node._is_interpolation()]
    yield from _lines(verb, config, sorted(own, key=lambda item: item[0] == "weights_dir"), known, width)
    for group, items in grouped.items():
        yield ""
        yield from _header(verb, settings, group, chosen[group], width)
        yield from _lines(verb, config, items, known, width)


def _example(verb: str, settings: DictConfig, group: str, chosen: Chosen) -> str | None:
    """A choice of a group that was not made, if it has one."""
    others = _others(verb, settings, group, [chosen[group]]) if group in chosen else []
    return f"{group}={others[0]}" if others else None


def _others(verb: str, settings: DictConfig, group: str, names: Sequence[str | None]) -> list[str]:
    """What else there is to choose in a group."""
    if group == "callbacks":  # each of them belongs to one verb
        return []
    files = choices(settings, group)
    return [name for name in files if name not in names and (group != "experiment" or _fits(verb, files, name))]


def _header(
    verb: str, settings: DictConfig, group: str, choice: str | Sequence[str] | None, width: int
) -> Iterator[str]:
    """What is chosen in a group, what that is, and what else there is."""
    names = [choice] if isinstance(choice, str) else list(choice or [])
    shown = choice if isinstance(choice, str) else "null" if choice is None else f"[{','.join(names)}]"
    about = " ".join(filter(None, (title(text_of(settings, f"{group}/{name}") or "") for name in names)))
    yield from _wrapped(f"{group}={shown}", about, width, 0)
    if others := _others(verb, settings, group, names):
        yield from textwrap.wrap(f"or {', '.join(others)}", width, initial_indent="  ", subsequent_indent="     ")


def _fits(verb: str, files: Mapping[str, Traversable], name: str) -> bool:
    """Whether an experiment is one of the verb. files: of all experiments."""
    file = OmegaConf.create(files[name].read_text(encoding="utf-8"))
    others = [other for other in file.get("defaults", []) if other in files]
    return ("stages" in file or any(_fits("pipeline", files, other) for other in others)) == (verb == "pipeline")


def _lines(
    verb: str, config: DictConfig, items: Sequence[tuple[str, Node]], known: dict[str, str], width: int
) -> Iterator[str]:
    """A line per option; `known` are their comments."""
    for name, node in items:
        value = _value(config, name, node)
        comment = re.sub(r"^written \S+: ", "", known.get(name, ""))  # of an option that users know by another name
        if not comment and (same := re.fullmatch(r"\$\{([a-z_.]+)\}", str(node._value()))):
            comment = f"as {same[1]}"
        yield from _wrapped(f"{name}={value}", comment, width, _INDENT)


def _value(config: DictConfig, name: str, node: Node) -> str:
    """The value as it is typed; what an interpolation means, if that is known before the run."""
    if node._is_missing():
        return "???"
    try:
        value = OmegaConf.select(config, name)
    except OmegaConfBaseException:
        value = node._value()
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value).replace("'", "").replace(", ", ",") if isinstance(value, list) else str(value)
    return f'"{text}"' if text == "" or (" " in text and isinstance(value, str)) else text


def _wrapped(option: str, comment: str, width: int, indent: int) -> Iterator[str]:
    """name=value in a column of its own, the comment beside it, or below where there is no room."""
    margin, column = " " * indent, indent + _NAMES
    if len(option) > _NAMES - 2 and (not comment or indent + len(option) + 2 + len(comment) > width):
        parts = textwrap.wrap(option.replace(",", ", "), width, initial_indent=margin, subsequent_indent=margin * 2)
        yield from (part.replace(", ", ",") for part in parts)
        option = ""
    beside = textwrap.wrap(comment, max(width - max(column, indent + len(option) + 2), 20), break_long_words=False)
    if option or beside:
        yield f"{margin}{option:<{_NAMES - 2}}  {beside[0] if beside else ''}".rstrip()
    yield from (" " * column + line for line in beside[1:])
