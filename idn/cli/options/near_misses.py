"""Near misses: what options that do not make a config could have been, in one sentence."""

import difflib
import re
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from idn.cli.options.composition import choices, chosen_groups, composed, groups, search
from idn.cli.options.groups import check_groups
from idn.cli.options.overrides import parsed
from idn.cli.options.types import check_ranges, check_typed, leaves, selected
from idn.errors import UserError, shown

PLUGINS = {"sweeper": ("ax", "nevergrad"), "launcher": ("joblib", "ray", "rq", "submitit")}
"""What Hydra's own project has in packages of their own, by the group that it belongs to."""

_SHOWN = 3
"""Owners of an option that are named before the rest is counted."""


def check(verb: str, options: Sequence[str]) -> None:
    """Raise UserError, with what to type instead, if the options do not make a config of the verb."""
    for option in options:
        if not re.match(r"[~+]*[^=~+]", option) or ("=" not in option and not option.startswith("~")):
            raise UserError(f"{option!r} is no option: write name=value, with a name that idn {verb} --help shows")
    default, read = _choices_only(verb, options), list(filter(None, map(parsed, options)))
    plain, settings = composed(verb, search(options))
    check_groups(verb, read, default, plain, chosen_groups(verb, settings))
    try:
        config, _ = composed(verb, options)
    except UserError:
        raise
    except HydraException as error:
        raise UserError(_sentence(verb, options, str(error))) from error
    except (ValueError, TypeError) as error:  # of a group that was given a number or null
        raise UserError(_unnamed(verb, options) or f"{_brief(error)}: see idn {verb} --help") from error
    if verb != "pipeline":  # whose experiments have keys of their own
        _check_experiment(verb, options, config)
    check_typed(read, default)
    check_ranges(config)


def _check_experiment(verb: str, options: Sequence[str], config: DictConfig) -> None:
    """Raise UserError for an experiment of another verb, whose settings would be there without any effect."""
    added = {option.lstrip("+").partition("=")[0].split(".")[0] for option in options if option.startswith("+")}
    plain, settings = composed(verb, search(options))
    groups = settings.runtime.choices.keys()  # also those of which nothing is chosen
    if foreign := sorted(config.keys() - plain.keys() - groups - added):
        chosen = next((option for option in options if option.startswith("experiment=")), "this experiment")
        theirs = "idn pipeline" if "stages" in foreign else "another verb"
        raise UserError(f"{chosen} sets {foreign[0]}, which idn {verb} does not have: it is for {theirs}")


def _sentence(verb: str, options: Sequence[str], said: str) -> str:
    """What Hydra said about the options, with what could have been meant."""
    if found := re.search(r"Could not (?:override|delete) '([^']+)'", said):
        return f"there is no option {found[1]}: {_suggestion(verb, options, found[1])}"
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", said):
        return _no_choice(found[1], found[2], _listed(said))
    if found := re.search(r"Could not load '([^']+)/([^'/]+)'", said):
        return _no_choice(found[1], found[2], list(choices(composed(verb, search(options))[1], found[1])))
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


def _unnamed(verb: str, options: Sequence[str]) -> str | None:
    """That a group has no file of a name which is none, such as null; None if no option asks for that."""
    settings = composed(verb, search(options))[1]
    for option in options:
        group, _, name = option.lstrip("+").partition("=")
        read, known = parsed(option), list(choices(settings, group))
        value = None if read is None else read.value()
        if isinstance(value, list):
            value = next((each for each in value if not isinstance(each, str)), name)
            name = shown(value)
        if read is not None and known and not isinstance(value, str):
            return _no_choice(group, name, known)
    return None


def _no_choice(group: str, name: str, known: Sequence[str]) -> str:
    """That a group has no file of that name."""
    kind = group.rpartition("/")[2]
    if group.startswith("hydra/") and name.partition("_")[0] in PLUGINS.get(kind, ()):
        return f"{group}={name} is a plugin of Hydra's: install hydra-{name.partition('_')[0]}-{kind}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"there is no {group}={name}: {f'did you mean {near[0]}? or ' if near else ''}choose of {', '.join(known)}"


def _suggestion(verb: str, options: Sequence[str], name: str) -> str:
    """What an option that is not there could have been."""
    group, _, key = name.partition(".")
    if verb == "pipeline" and group in groups(composed(verb, search(options))[1]):
        option = next((option for option in options if option.lstrip("+").startswith(f"{name}=")), f"{name}=VALUE")
        return f'its stages have such options: more.all="{option}", or more.VERB for the stages of one verb'
    if verb == "teachers" and group == "teacher" and key:
        return f"write +{name}=VALUE, for the teacher that check=NAME names"
    files = choices(composed(verb, search(options))[1], group) if key else {}
    owners = [name for name, file in files.items() if key in _keys(file)]
    if owners:
        more = f" and {len(owners) - _SHOWN} others" if len(owners) > _SHOWN else ""
        return f"it belongs to {', '.join(f'{group}={owner}' for owner in owners[:_SHOWN])}{more}"
    if not key and (meant := _groups_meant(verb, options, name)):
        return f"did you mean {' or '.join(meant)}?"
    config = _choices_only(verb, options)
    parent = selected(config, name.rpartition(".")[0]) if key else None
    if isinstance(parent, DictConfig) and not parent:
        return f"write +{name}=VALUE, to add it to a table that is empty"
    near = near_names(name, list(dict.fromkeys(_names(config))))
    hint = f"did you mean {near[0]}?" if near else f"see idn {verb} --help"
    passes = isinstance(parent, DictConfig) and "_target_" in parent
    return f"{hint} (+{name}=... would pass it on as it is)" if passes else hint


def _groups_meant(verb: str, options: Sequence[str], name: str) -> list[str]:
    """What chooses the file that an option names, which calls its group by another name: the likeliest, or all."""
    value = next((option.partition("=")[2] for option in options if option.lstrip("+").startswith(f"{name}=")), "")
    settings = composed(verb, search(options))[1]
    having = [group for group in settings.runtime.choices if value in choices(settings, group)]
    near = difflib.get_close_matches(name, having, n=1, cutoff=0.6)
    return [f"{group}={value}" for group in near or having]


def _keys(file: Traversable) -> set[str]:
    """Top-level keys of a config file, also of those that have no value yet."""
    return set(OmegaConf.create(file.read_text(encoding="utf-8")))


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """Those of the names that could have been meant by another one, the likeliest first."""
    last = {known: known.rpartition(".")[2] for known in names}
    ending = [known for known in names if last[known] == name.rpartition(".")[2]]
    near = ending if len(ending) == 1 else difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return near or [known for known in names if difflib.SequenceMatcher(None, name, last[known]).ratio() > 0.8]


def _choices_only(verb: str, options: Sequence[str]) -> DictConfig:
    """The verb's config with only those of the options that choose a file of a group: what the others would change."""
    places = search(options)
    known = groups(composed(verb, places)[1])
    chosen = [option for option in options if re.split("[=@/]", option.lstrip("+~"))[0] in known]
    try:
        return composed(verb, [*places, *chosen])[0]
    except (HydraException, ValueError, TypeError):
        return composed(verb, places)[0]


def _names(config: DictConfig) -> Iterator[str]:
    """All options of a config with their dots, and what holds them."""
    for name, _ in leaves(config):
        parts = name.split(".")
        yield from (".".join(parts[: k + 1]) for k in range(len(parts)))
