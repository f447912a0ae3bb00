"""What a user types after a verb, as Hydra overrides, and one sentence for what does not make a config."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.cli.building import conf_dir
from idn.errors import UserError

RENAMED = {
    "export": {
        "student": "student_file",
        "identity": "person",
        "encoder": "identity@encoder",
        "format": "file_format",
    },
    "bench": {"student": "student_file"},
}
"""Options of a verb that Hydra would take for something else, by the name that users know them by."""

NUMBER_OR_WORD = ("trainer.devices",)
"""Options whose default is a number, but which may be a word such as auto."""

_SHOWN = 3
"""Owners of an option that are named before the rest is counted."""


def overrides(verb: str, words: Sequence[str], several: bool) -> list[str]:
    """The words as overrides that Hydra understands: renamed (see RENAMED), values with special characters quoted.

    several: whether a comma separates values of different runs; otherwise one that is part of a path stays in it.
    """
    return [word if word.startswith("-") else _quoted(_renamed(verb, word), several) for word in words]


def _renamed(verb: str, option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{RENAMED.get(verb, {}).get(name, name)}{equals}{value}"


def spoken(verb: str, sentence: str) -> str:
    """A sentence about options with the names that they have in `verb`, where an encoder is not called identity."""
    if "encoder" not in RENAMED.get(verb, {}):
        return sentence
    encoders = "|".join(path.stem for path in sorted((conf_dir() / "identity").glob("*.yaml")))
    return re.sub(rf"\bidentity(\.\w|=(?:{encoders})\b)", r"encoder\1", sentence)


def _quoted(option: str, several: bool) -> str:
    """The option with its value in quotes, if it means something else to Hydra, or nothing, without them."""
    name, equals, value = option.partition("=")
    parsed = _parse(option)
    is_path = "/" in value or Path(value).exists()
    plain = parsed is not None and (several or not parsed.is_sweep_override() or not is_path)
    if not equals or plain:
        return option
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # a quote is escaped, and what escapes it is doubled
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    quoted = f'{name}="{escaped}{trailing * chr(92)}"'
    return option if _parse(quoted) is None else quoted


def _parse(option: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(option)
    except HydraException:
        return None


def check(verb: str, options: Sequence[str]) -> None:
    """Raise UserError, with what to type instead, if the options do not make a config of the verb."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for option in options:
            if not re.match(r"[~+]*[^=~+]", option) or ("=" not in option and not option.startswith("~")):
                raise UserError(f"{option!r} is no option: write name=value, with a name that idn {verb} --help shows")
        try:
            compose(verb, list(options))
        except HydraException as error:
            raise UserError(_sentence(verb, options, str(error))) from error
        except ValueError as error:  # of a group that was given a number
            raise UserError(f"{_brief(error)}: see idn {verb} --help") from error
        _check_numbers(options, _choices_only(verb, options))


def _check_numbers(options: Sequence[str], default: DictConfig) -> None:
    """Raise UserError for a word in the place of a number or of true and false."""
    for override in filter(None, map(_parse, options)):
        name, value = override.key_or_group, override.value()
        usual = _default(default, name)
        if not isinstance(value, str) or "${" in value or name in NUMBER_OR_WORD:
            continue
        if isinstance(usual, bool):
            raise UserError(f"{name}={value} is neither true nor false")
        if isinstance(usual, int | float):
            raise UserError(f"{name}={value} is not a number: it is {usual} where nothing is given")


def _default(config: DictConfig, name: str) -> Any:
    try:
        return OmegaConf.select(config, name, throw_on_missing=False)
    except OmegaConfBaseException:  # an interpolation that nothing resolves yet
        return None


def _sentence(verb: str, options: Sequence[str], said: str) -> str:
    """What Hydra said about the options, with what could have been meant."""
    if found := re.search(r"Could not override '([^']+)'", said):
        return f"there is no option {found[1]}: {_suggestion(verb, options, found[1])}"
    if found := re.search(r"Could not find '([^'/]+)/([^']+)'", said):
        return _no_choice(verb, found[1], found[2], _listed(said))
    brief = _brief(said)
    if "Ambiguous value" in said:
        return f"{brief.split(' 1. ')[0]}: use -m for a run per value, or name=[a,b] for a list"
    return f"{brief}: see idn {verb} --help"


def _brief(said: Exception | str) -> str:
    return " ".join(str(said).split("\n\n")[0].splitlines()[:2]).split(" To append to your config")[0].rstrip(".")


def _listed(said: str) -> list[str]:
    """What Hydra says that one could have chosen."""
    _, _, rest = said.partition("Available options in '")
    lines = rest.partition("\nConfig search path")[0].splitlines()[1:]
    return [line.strip() for line in lines if line.startswith("\t")]


def _no_choice(verb: str, group: str, name: str, known: Sequence[str]) -> str:
    """That a group has no file of that name, under the name that users know the group by."""
    shown = next((ours for ours, theirs in RENAMED.get(verb, {}).items() if theirs.split("@")[0] == group), group)
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no {shown}={name}: {f'did you mean {near[0]}? or ' if near else ''}choose of {', '.join(known)}"


def _suggestion(verb: str, options: Sequence[str], name: str) -> str:
    """What an option that is not there could have been."""
    group, _, key = name.partition(".")
    owners = [path.stem for path in sorted((conf_dir() / group).glob("*.yaml")) if key in _keys(path)] if key else []
    if owners:
        more = f" and {len(owners) - _SHOWN} others" if len(owners) > _SHOWN else ""
        return f"it belongs to {', '.join(f'{group}={owner}' for owner in owners[:_SHOWN])}{more}"
    config = _choices_only(verb, options)
    names = list(_names(config))
    last = {known: known.rpartition(".")[2] for known in names}
    ending = [known for known in names if last[known] == name.rpartition(".")[2]]
    near = ending if len(ending) == 1 else difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    near = near or [known for known in names if difflib.SequenceMatcher(None, name, last[known]).ratio() > 0.8]
    hint = f"did you mean {near[0]}?" if near else f"see idn {verb} --help"
    parent = _default(config, name.rpartition(".")[0]) if key else None
    passes = isinstance(parent, DictConfig) and "_target_" in parent
    return f"{hint} (+{name}=... would pass it on as it is)" if passes else hint


def _keys(path: Path) -> set[str]:
    """Top-level keys of a config file, also of those that have no value yet."""
    return set(OmegaConf.load(path).keys())


def _choices_only(verb: str, options: Sequence[str]) -> DictConfig:
    """The verb's config with only those of the options that choose a file of a group: what the others would change."""
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    chosen = [option for option in options if re.split("[=@]", option.lstrip("+~"))[0] in groups]
    try:
        return compose(verb, chosen)
    except (HydraException, ValueError):
        return compose(verb)


def _names(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """All options of a config with their dots."""
    for key in config:
        yield f"{prefix}{key}"
        node = config._get_node(key)
        if (
            isinstance(node, DictConfig)
            and not node._is_none()
            and not node._is_missing()
            and not node._is_interpolation()
        ):
            yield from _names(node, f"{prefix}{key}.")
