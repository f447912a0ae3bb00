"""What the config files themselves say: the comment beside each option, the title of each file, usage of a verb."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.options.composition import composed, composing, search, text_of


def template(verb: str) -> str:
    """The part of a verb's help that is written by hand."""
    return OmegaConf.load(conf_dir() / f"{verb}.yaml").hydra.help.template.strip()


def usage_of(verb: str) -> str:
    """The first line of a verb's usage."""
    return re.search(r"usage: (.+?)(?:\s{3,}.*)?$", template(verb), re.MULTILINE)[1]


def comments(verb: str, options: Sequence[str]) -> dict[str, str]:
    """What the config files that the options choose say about each option."""
    found: dict[str, str] = {}
    settings = composed(verb, search(options))[1]
    for default in chosen_files(verb, options):
        if text := text_of(settings, default.config_path):
            prefix = f"{default.package}." if default.package else ""
            found |= {f"{prefix}{name}": comment for name, comment in remarks(text).items()}
    return found


def chosen_files(verb: str, options: Sequence[str]) -> list[ResultDefault]:
    """The config files of a verb with some options, in the order in which they are laid over each other."""
    with composing():
        loader = GlobalHydra.instance().config_loader()
        return loader.compute_defaults_list(verb, list(options), RunMode.RUN).defaults


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


def title(text: str) -> str:
    """The first line of comment in the text of a config file, "" if it does not begin with one."""
    first = next((line for line in text.splitlines() if not line.startswith("# @package")), "")
    return first[1:].strip() if first.startswith("#") else ""


def _entries(node: Any, prefix: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key, value
            yield from _entries(value, f"{prefix}{key.value}.")
