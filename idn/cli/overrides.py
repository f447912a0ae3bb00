"""What a user types after a verb, as Hydra overrides, and one sentence for what does not make a config."""

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.option_types import check_ranges, check_typed, leaves, selected
from idn.errors import UserError

FLAGS = {
    *("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run", "-m"),
    *("--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
    *("--experimental-rerun", "-i", "--info"),
}
"""What Hydra itself takes with dashes."""

_LAST = ("checkpoints/last.ckpt", "checkpoints/last_good.ckpt", "last.ckpt", "last_good.ckpt")
"""Where checkpoints to go on from lie in the folder of a run, or in that of its checkpoints; the newest counts."""

_SHOWN = 3
"""Owners of an option that are named before the rest is counted."""

_MANY = 16
"""Combinations of a sweep that are all looked at; of more, each value is looked at once."""


def overrides(verb: str, words: Sequence[str], several: bool) -> list[str]:
    """The words as overrides that Hydra understands: the folder of a run as its newest checkpoint, values with special characters quoted.

    several: whether a comma separates values of different runs; otherwise one that is part of a path stays in it.
    """
    return [word if word.startswith("-") else _quoted(_checkpoint(word), several) for word in words]


def _checkpoint(option: str) -> str:
    name, equals, value = option.partition("=")
    if name == "resume" and value:
        saved = [path for last in _LAST if (path := Path(value) / last).is_file()]
        value = str(max(saved, key=lambda path: path.stat().st_mtime)) if saved else value
    return f"{name}{equals}{value}"


def check_dashes(verb: str, words: Sequence[str]) -> None:
    """Raise UserError, with what to type instead, for options that are written as other programs want them."""
    for word, following in zip(words, (*words, "")[1:], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or word.partition("=")[0] in FLAGS:
            continue
        dashes = word[: len(word) - len(word.lstrip("-"))]
        if not equals:
            value = "VALUE" if "=" in following or following.startswith("-") else following or "VALUE"
        with composing():
            config = compose(verb, return_hydra_config=True)
        known = [*config, *(option for option, _ in leaves(config)), *config.hydra.runtime.choices]
        name = name.replace("-", "_")
        if near := [name] if name in known else _near(name, known):
            raise UserError(f"{word} is no option: write {near[0]}={value}, without {dashes}")
        if near := difflib.get_close_matches(word, FLAGS, n=1, cutoff=0.75):
            raise UserError(f"there is no {word}: did you mean {near[0]}?")
        raise UserError(f"{word} is no option: write name=value, without {dashes}, as idn {verb} --help shows")


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


@contextmanager
def composing() -> Iterator[None]:
    """Where configs can be composed, inside a run of Hydra's or outside."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def combinations(options: Sequence[str]) -> list[list[str]]:
    """The options of each run of a sweep; of more than `_MANY` runs, as many as have every value once."""
    values = [_values(option) for option in options]
    if math.prod(map(len, values)) <= _MANY:
        return [list(combination) for combination in product(*values)]
    first = [some[0] for some in values]
    others = [[*first[:k], value, *first[k + 1 :]] for k, some in enumerate(values) for value in some[1:]]
    return [first, *others]


def _values(option: str) -> list[str]:
    """The option once with each of its values; as it is, if those can only be known later."""
    parsed = _parse(option)
    if parsed is None or not parsed.is_discrete_sweep() or parsed.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return [option]
    return [f"{option.partition('=')[0]}={value}" for value in parsed.sweep_string_iterator()]


def check(verb: str, options: Sequence[str]) -> None:
    """Raise UserError, with what to type instead, if the options do not make a config of the verb."""
    with composing():
        _check(verb, options)


def _check(verb: str, options: Sequence[str]) -> None:
    for option in options:
        if not re.match(r"[~+]*[^=~+]", option) or ("=" not in option and not option.startswith("~")):
            raise UserError(f"{option!r} is no option: write name=value, with a name that idn {verb} --help shows")
    try:
        config = compose(verb, list(options))
    except HydraException as error:
        raise UserError(_sentence(verb, options, str(error))) from error
    except ValueError as error:  # of a group that was given a number
        raise UserError(f"{_brief(error)}: see idn {verb} --help") from error
    if verb != "pipeline":  # whose experiments have keys of their own
        _check_experiment(verb, options, config)
    check_typed(filter(None, map(_parse, options)), _choices_only(verb, options))
    check_ranges(config)


def _check_experiment(verb: str, options: Sequence[str], config: DictConfig) -> None:
    """Raise UserError for an experiment of another verb, whose settings would be there without any effect."""
    added = {option.lstrip("+").partition("=")[0].split(".")[0] for option in options if option.startswith("+")}
    if foreign := sorted(config.keys() - compose(verb).keys() - added):
        chosen = next((option for option in options if option.startswith("experiment=")), "this experiment")
        theirs = "idn pipeline" if "stages" in foreign else "another verb"
        raise UserError(f"{chosen} sets {foreign[0]}, which idn {verb} does not have: it is for {theirs}")


def _sentence(verb: str, options: Sequence[str], said: str) -> str:
    """What Hydra said about the options, with what could have been meant."""
    if found := re.search(r"Could not override '([^']+)'", said):
        return f"there is no option {found[1]}: {_suggestion(verb, options, found[1])}"
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", said):
        return _no_choice(found[1], found[2], _listed(said))
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


def _no_choice(group: str, name: str, known: Sequence[str]) -> str:
    """That a group has no file of that name."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"there is no {group}={name}: {f'did you mean {near[0]}? or ' if near else ''}choose of {', '.join(known)}"


def _suggestion(verb: str, options: Sequence[str], name: str) -> str:
    """What an option that is not there could have been."""
    group, _, key = name.partition(".")
    if verb == "pipeline" and (conf_dir() / group).is_dir():
        option = next((option for option in options if option.lstrip("+").startswith(f"{name}=")), f"{name}=VALUE")
        return f'its stages have such options: more.all="{option}", or more.VERB for the stages of one verb'
    owners = [path.stem for path in sorted((conf_dir() / group).glob("*.yaml")) if key in _keys(path)] if key else []
    if owners:
        more = f" and {len(owners) - _SHOWN} others" if len(owners) > _SHOWN else ""
        return f"it belongs to {', '.join(f'{group}={owner}' for owner in owners[:_SHOWN])}{more}"
    config = _choices_only(verb, options)
    near = _near(name, list(dict.fromkeys(_names(config))))
    hint = f"did you mean {near[0]}?" if near else f"see idn {verb} --help"
    parent = selected(config, name.rpartition(".")[0]) if key else None
    passes = isinstance(parent, DictConfig) and "_target_" in parent
    return f"{hint} (+{name}=... would pass it on as it is)" if passes else hint


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Those of the names that could have been meant by another one, the likeliest first."""
    last = {known: known.rpartition(".")[2] for known in names}
    ending = [known for known in names if last[known] == name.rpartition(".")[2]]
    near = ending if len(ending) == 1 else difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return near or [known for known in names if difflib.SequenceMatcher(None, name, last[known]).ratio() > 0.8]


def _keys(path: Path) -> set[str]:
    """Top-level keys of a config file, also of those that have no value yet."""
    return set(OmegaConf.load(path).keys())


def _choices_only(verb: str, options: Sequence[str]) -> DictConfig:
    """The verb's config with only those of the options that choose a file of a group: what the others would change."""
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    chosen = [option for option in options if re.split("[=@/]", option.lstrip("+~"))[0] in groups]
    try:
        return compose(verb, chosen)
    except (HydraException, ValueError):
        return compose(verb)


def _names(config: DictConfig) -> Iterator[str]:
    """All options of a config with their dots, and what holds them."""
    for name, _ in leaves(config):
        parts = name.split(".")
        yield from (".".join(parts[: k + 1]) for k in range(len(parts)))
