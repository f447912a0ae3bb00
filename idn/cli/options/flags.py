"""Flags: words with dashes that Hydra takes, and one sentence for options that other programs want with dashes."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from idn.cli.options.composition import SEARCH, composed
from idn.cli.options.near_misses import near_names
from idn.cli.options.types import leaves
from idn.errors import UserError

HELP = ("-h", "--help")

SEVERAL = ("-m", "--multirun")

CONFIG_DIR = ("-cd", "--config-dir")

ALONE = {*HELP, *SEVERAL, "--hydra-help", "--version", "--resolve", "-r", "--run", "-sc", "--shell-completion"}
"""Flags without a value."""

VALUED = {*CONFIG_DIR, "-c", "--cfg", "-p", "--package", "-i", "--info"}
"""Flags with a value, which is the next word, or stands behind "="; that of --info may be missing."""

SHOWING = {"--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion"}
"""Flags that show something instead of running anything."""

PURPOSES = {*SEVERAL, "-r", "--run", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion"}
"""Flags of which Hydra takes one."""

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What --info can be followed by."""


def separated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of Hydra with their values, and all other words.

    A folder of `--config-dir` becomes a part of hydra.searchpath, so that whatever reads the options knows of it.
    Raises UserError for a folder that is not there, a flag without its value, and flags that exclude each other.
    """
    flags, options, added = [], [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name not in VALUED:
            (flags if word in ALONE else options).append(word)
            continue
        optional = name in ("-i", "--info")
        if not equals and rest and not (optional and rest[0] not in INFO):
            value = rest.pop(0)
        if not value and not optional:
            raise UserError(f"{name} wants a value: write {name}=VALUE")
        if name in CONFIG_DIR:
            added.append(_folder(name, value))
        else:
            flags.append(f"{name}={value}" if equals else name)
            flags += [] if equals or not value else [value]
    _check_one_purpose(flags)
    return flags, _searching(options, added)


def _check_one_purpose(flags: Sequence[str]) -> None:
    """Raise UserError if one flag asks for runs and another to show something instead, or two show different things."""
    names = [flag.partition("=")[0] for flag in flags]
    if set(HELP).isdisjoint(names) and len(purposes := [name for name in names if name in PURPOSES]) > 1:
        raise UserError(f"{purposes[0]} and {purposes[1]} exclude each other: leave one of them out")


def _folder(name: str, value: str) -> str:
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{name}={value} is not a folder: give one with groups of config files, as conf has them")
    return f'"file://{folder}"'


def _searching(options: list[str], added: list[str]) -> list[str]:
    """The options with further places to look for config files."""
    if not added:
        return options
    given = [option.removeprefix(SEARCH).strip("[]") for option in options if option.startswith(SEARCH)]
    others = [option for option in options if not option.startswith(SEARCH)]
    return [*others, f"{SEARCH}[{','.join(filter(None, (*given, *added)))}]"]


def check_dashes(verb: str, words: Sequence[str]) -> None:
    """Raise UserError, with what to type instead, for options that are written as other programs want them."""
    for word, following in zip(words, (*words, "")[1:], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or word.partition("=")[0] in ALONE | VALUED:
            continue
        dashes = word[: len(word) - len(word.lstrip("-"))]
        if not equals:
            value = "VALUE" if "=" in following or following.startswith("-") else following or "VALUE"
        config, settings = composed(verb)
        known = [*config, "hydra", *(option for option, _ in leaves(config)), *settings.runtime.choices]
        name = name.replace("-", "_")
        if near := [name] if name in known else near_names(name, known):
            raise UserError(f"{word} is no option: write {near[0]}={value}, without {dashes}")
        if near := difflib.get_close_matches(word, ALONE | VALUED, n=1, cutoff=0.75):
            raise UserError(f"there is no {word}: did you mean {near[0]}?")
        raise UserError(f"{word} is no option: write name=value, without {dashes}, as idn {verb} --help shows")
