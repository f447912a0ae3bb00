"""What a user types after a verb, as Hydra overrides, and the runs of a sweep."""

import math
import re
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException

from idn.cli.options.composition import PATHS, choices, composed, search
from idn.errors import FileError, UserError
from idn.files.run_folder import holds_run, newest_checkpoint

_MANY = 16
"""Combinations of a sweep that are all looked at; of more, each value is looked at once."""

_HOME = re.compile(r"""(^[^=]*=|[\[,'"]|file://)~(?=/|$|[\],'"])""")
"""A value, or a part of one, that begins in the user's home folder, behind what comes before it."""

AUTO = "resume=auto"
"""Goes on with the newest state in the folder of the run, or begins."""

SWITCHES = ("callbacks", "logger", "recogniser", "discriminator", "experiment", "recipe")
"""Groups of which a run needs nothing; that of the last three is the default."""


def overrides(words: Sequence[str], several: bool) -> list[str]:
    """The words as overrides that Hydra understands.

    The folder of a run becomes its newest checkpoint, `~` the user's home, and values with special characters are
    quoted. several: whether a comma separates values of different runs; otherwise one in a path is part of it.
    """
    words = _newest_state([_at_home(word) for word in words])
    return [_quoted(_off(_beside_table(_checkpoint(word))), several) for word in words]


def _newest_state(words: Sequence[str]) -> list[str]:
    """The words with `resume=auto` become the newest state in the folder of the run that can be read, or null.

    Where there is none, what a mirror of the run holds is fetched first. Raises UserError if no word names the folder,
    FileError for a mirror that cannot be reached and a run of which no state can be read: it would begin anew, and what
    is there would be lost.
    """
    if AUTO not in words:
        return list(words)
    folder, mirror = _named("hydra.run.dir", words), _named("callbacks.mirror.url", words)
    if folder is None:
        raise UserError(f"{AUTO} goes on in a folder that is named: add hydra.run.dir=DIR")
    from idn.files.remote import fetch_folder
    from idn.training.resume import newest_usable

    found = newest_usable(Path(folder))
    if found is None and mirror is not None and (count := fetch_folder(mirror, Path(folder))):
        print(f"fetched {count} files of the run from {mirror}", file=sys.stderr)
        found = newest_usable(Path(folder))
    if found is None and holds_run(Path(folder)):
        raise FileError(folder, "holds a run, but no state of it that can be read: delete it, or choose another folder")
    return [f"resume={'null' if found is None else found}" if word == AUTO else word for word in words]


def _named(option: str, words: Sequence[str]) -> str | None:
    """The value that the last of the words gives an option, None if none does."""
    values = [word.partition("=")[2].strip("'\"") for word in words if word.startswith(f"{option}=")]
    return values[-1] if values else None


def _beside_table(option: str) -> str:
    """Dashboards, one or a list of them, with the table of numbers, which every run has unless it has no logger."""
    found = re.fullmatch(r"logger=(\w+|\[[\w,]+\])", option)
    names = [] if found is None else [name for name in found[1].strip("[]").split(",") if name]
    return option if names in ([], ["null"], ["csv"]) else f"logger=[{','.join(dict.fromkeys(('csv', *names)))}]"


def _off(option: str) -> str:
    """A group that is null, which is switched off, as Hydra spells that."""
    name, _, value = option.partition("=")
    return f"~{name}" if name in SWITCHES and value == "null" else option


def _at_home(option: str) -> str:
    """The option with `~` written out, which shells leave alone behind "="."""
    return _HOME.sub(lambda found: f"{found[1]}{Path.home()}", option) if "=" in option else option


def _checkpoint(option: str) -> str:
    name, equals, value = option.partition("=")
    if name == "resume" and value:
        value = str(newest_checkpoint(Path(value)) or value)
    return f"{name}{equals}{value}"


def _quoted(option: str, several: bool) -> str:
    """The option with its value in quotes, if it means something else to Hydra, or nothing, without them."""
    name, equals, value = option.partition("=")
    read = parsed(option)
    is_path = "/" in value or Path(value).exists()
    number = read is not None and isinstance(read.value(), int | float) and not isinstance(read.value(), bool)
    named = number and name.rpartition(".")[2] in PATHS  # a file called 1e3 is no other one called 1000.0
    plain = read is not None and not named and (several or not read.is_sweep_override() or not is_path)
    if not equals or plain:
        return option
    quoted = f"{name}={in_quotes(value)}"
    return option if parsed(quoted) is None else quoted


def in_quotes(value: str) -> str:
    """A text in the quotes of Hydra's overrides."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # a quote is escaped, and what escapes it is doubled
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'"{escaped}{trailing * chr(92)}"'


def parsed(option: str) -> Override | None:
    """The option as Hydra reads it; None if it does not."""
    try:
        return OverridesParser.create().parse_override(option)
    except HydraException:
        return None


def combinations(verb: str, options: Sequence[str]) -> list[list[str]]:
    """The options of each run of a sweep; of more than `_MANY` runs, as many as have every value once.

    Raises UserError for a range to search in without a sweeper that searches.
    """
    values = [_values(verb, option, options) for option in options]
    if math.prod(map(len, values)) <= _MANY:
        return [list(combination) for combination in product(*values)]
    first = [some[0] for some in values]
    others = [[*first[:k], value, *first[k + 1 :]] for k, some in enumerate(values) for value in some[1:]]
    return [first, *others]


def searched(verb: str, options: Sequence[str]) -> list[str]:
    """The options, and before them those that a sweeper finds in its config, such as that of sweep=NAME.

    What is typed replaces what the config says of the same option. Options that make no config are left as they are.
    """
    try:
        settings = composed(verb, combinations(verb, options)[0])[1]
    except (HydraException, ValueError):
        return list(options)
    typed = {option.lstrip("+~").partition("=")[0] for option in options}
    space = settings.sweeper.get("params") or {}
    return [*(f"{name}={value}" for name, value in space.items() if name.lstrip("+~") not in typed), *options]


def _values(verb: str, option: str, options: Sequence[str]) -> list[str]:
    """The option once with each of its values, or with both ends of the interval that it stands for."""
    read = parsed(option)
    if read is None or not read.is_sweep_override():
        return [option]
    name, sweep = option.partition("=")[0], read.value()
    if isinstance(sweep, Glob):
        known = list(choices(composed(verb, search(options))[1], name.lstrip("+")))
        if not (found := sweep.filter(known)):
            raise UserError(f"{option} fits nothing: choose of {', '.join(known)}")
        return [f"{name}={value}" for value in found]
    if isinstance(sweep, IntervalSweep):
        _check_searching(verb, option, options)
        return [f"{name}={end}" for end in (sweep.start, sweep.end)]
    return [f"{name}={value}" for value in read.sweep_string_iterator()]


def _check_searching(verb: str, option: str, options: Sequence[str]) -> None:
    """Raise UserError if an interval is given to the sweeper that only knows lists."""
    try:
        settings = composed(verb, [other for other in options if other.lstrip("+~").startswith(("hydra", "sweep="))])[1]
    except HydraException:  # of a sweeper that is not installed, which is told with the other options
        return
    if settings.sweeper._target_.endswith("BasicSweeper"):
        raise UserError(
            f"{option} is to be searched in, which Hydra's own sweeper cannot: add hydra/sweeper=optuna, "
            "or give values, such as a,b or range(1,5)"
        )
