"""What `idn VERB --help` prints: how the verb is used, and every option with its value and what it means."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.cli.config_tree import conf_dir
from idn.cli.option_types import leaves
from idn.cli.overrides import check, combinations, composing

_INDENT, _NAMES, _LEAST, _MOST = 2, 34, 60, 160
"""Columns: before a line, for name=value, and of a terminal at least and at most."""


def help_text(verb: str, options: Sequence[str]) -> str:
    """The help of a verb, with the values that its options have beside `options`.

    Raises UserError if these do not make a config of the verb.
    """
    options = combinations(options)[0]
    check(verb, options)
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _LEAST), _MOST)
    with composing():
        config = compose(verb, list(options), return_hydra_config=True)
        choices = _choices(verb, options, config)
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        return "\n".join([_template(verb), "", *_blocks(verb, config, choices, comments(verb, options), width)])


def usage_of(verb: str) -> str:
    """The first line of a verb's usage."""
    return re.search(r"usage: (.+?)(?:\s{3,}.*)?$", _template(verb), re.MULTILINE)[1]


def comments(verb: str, options: Sequence[str]) -> dict[str, str]:
    """What the config files that the options choose say about each option."""
    found: dict[str, str] = {}
    for default in _chosen(verb, options):
        path = conf_dir() / f"{default.config_path}.yaml"
        if path.is_file():
            prefix = f"{default.package}." if default.package else ""
            found |= {f"{prefix}{name}": comment for name, comment in remarks(path.read_text()).items()}
    return found


def _chosen(verb: str, options: Sequence[str]) -> list[ResultDefault]:
    """The config files of a verb with some options, in the order in which they are laid over each other."""
    with composing():
        loader = GlobalHydra.instance().config_loader()
        return loader.compute_defaults_list(verb, list(options), RunMode.RUN).defaults


def _choices(verb: str, options: Sequence[str], config: DictConfig) -> dict[str, str | list[str] | None]:
    """By group, what is chosen, in the order in which the verb lists its groups."""
    found = {group: name for group, name in config.hydra.runtime.choices.items() if "hydra/" not in group}
    entries = [entry for entry in OmegaConf.load(conf_dir() / f"{verb}.yaml").defaults if OmegaConf.is_dict(entry)]
    for group in (group for entry in entries for group in entry if OmegaConf.is_list(entry[group])):
        files = [Path(default.config_path) for default in _chosen(verb, options)]
        found[group] = [path.name for path in files if path.parent.name == group]
    return dict(reversed(found.items()))


def remarks(text: str) -> dict[str, str]:
    """Option -> the comment behind it in the text of a config file, or else right above it."""
    lines, found = text.splitlines(), {}
    head = next((k for k, line in enumerate(lines) if not line.startswith("#")), 0)
    for name, key, value in _entries(yaml.compose(text)):
        simple = isinstance(value, yaml.ScalarNode) and value.end_mark.line == key.start_mark.line
        rest = lines[key.start_mark.line][value.end_mark.column if simple else key.end_mark.column :]
        comment = re.search(r"(?:^|\s)#\s*(.+)$", rest)
        above = lines[key.start_mark.line - 1].strip() if key.start_mark.line > head else ""
        if comment:
            found[name] = comment[1]
        elif above.startswith("# "):
            found[name] = above[2:]
    return found


def title(path: Path) -> str:
    """The first line of comment of a config file, "" if it does not begin with one."""
    first = next((line for line in path.read_text().splitlines() if not line.startswith("# @package")), "")
    return first[1:].strip() if first.startswith("#") else ""


def _entries(node: Any, prefix: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key, value
            yield from _entries(value, f"{prefix}{key.value}.")


def _template(verb: str) -> str:
    return OmegaConf.load(conf_dir() / f"{verb}.yaml").hydra.help.template.strip()


def _blocks(
    verb: str, config: DictConfig, choices: dict[str, str | list[str] | None], known: dict[str, str], width: int
) -> Iterator[str]:
    """Lines for the options of the verb itself, then for those of each of its groups."""
    own, grouped = [], {group: [] for group in choices}
    for name, node in leaves(config):
        if not name.rpartition(".")[2].startswith("_") and "${hydra:" not in str(node._value()):
            grouped.get(name.split(".")[0], own).append((name, node))
    yield "config (change any value as key=value):"
    if example := next(filter(None, (_example(verb, group, choices) for group in ("data", *choices))), None):
        yield f"  options of another choice: idn {verb} {example} --help"
    yield ""
    own = [(name, node) for name, node in own if "." not in name or not node._is_interpolation()]
    yield from _lines(verb, config, sorted(own, key=lambda item: item[0] == "weights_dir"), known, width)
    for group, items in grouped.items():
        yield ""
        yield from _header(verb, group, choices[group], width)
        yield from _lines(verb, config, items, known, width)


def _example(verb: str, group: str, choices: dict[str, str | list[str] | None]) -> str | None:
    """A choice of a group that was not made, if it has one."""
    others = _others(verb, group, [choices[group]]) if group in choices else []
    return f"{group}={others[0]}" if others else None


def _others(verb: str, group: str, names: Sequence[str]) -> list[str]:
    """What else there is to choose in a group."""
    folder = conf_dir() / group
    if folder.name == "callbacks":  # each of them belongs to one verb
        return []
    return [path.stem for path in sorted(folder.glob("*.yaml")) if path.stem not in names and _fits(verb, path)]


def _header(verb: str, group: str, choice: str | Sequence[str] | None, width: int) -> Iterator[str]:
    """What is chosen in a group, what that is, and what else there is."""
    folder = conf_dir() / group
    names = [choice] if isinstance(choice, str) else list(choice or [])
    shown = choice if isinstance(choice, str) else "null" if choice is None else f"[{','.join(names)}]"
    about = " ".join(filter(None, (title(folder / f"{name}.yaml") for name in names)))
    yield from _wrapped(f"{group}={shown}", about, width, 0)
    if others := _others(verb, group, names):
        yield from textwrap.wrap(f"or {', '.join(others)}", width, initial_indent="  ", subsequent_indent="     ")


def _fits(verb: str, path: Path) -> bool:
    """Whether an experiment is one of the verb; true for all other files."""
    if path.parent.name != "experiment":
        return True
    file = OmegaConf.load(path)
    others = [path.with_name(f"{name}.yaml") for name in file.get("defaults", []) if name != "_self_"]
    return ("stages" in file or any(_fits("pipeline", other) for other in others)) == (verb == "pipeline")


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
