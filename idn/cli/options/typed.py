"""Options as they were typed, of the command that is going on."""

from collections.abc import Mapping

from hydra.core.hydra_config import HydraConfig

from idn.cli.options.composition import search
from idn.errors import UserError

SWEEPING = ("sweep=", "metric=", "keep_losers=")
"""Beginnings of options that say how a sweep searches, and nothing of its runs."""


def typed() -> list[str]:
    """The options of the run of Hydra's that is going on, as they were typed, and where else it looks for configs.

    Without those that only concern the sweep that it is a part of, if it is.
    """
    chosen = HydraConfig.get().overrides
    return [*search(chosen.hydra), *(word for word in chosen.task if not word.startswith(SWEEPING))]


def refuse_useless(reasons: Mapping[str, str]) -> None:
    """Refuse options that change nothing of what is asked for.

    reasons: name of an option, or of the group that it belongs to -> where it has no effect, and what to do. Raises
    UserError for one that was typed.
    """
    for word in typed():
        group = _name(word).partition(".")[0]
        if group in reasons:
            raise UserError(f"{word} has no effect {reasons[group]}")


def refuse_passed_on(options: Mapping[str, str]) -> None:
    """Refuse options that only pass on what another one says, for the sake of networks that ask for them.

    options: such an option -> the one that says it. Raises UserError for one that was typed.
    """
    for word in typed():
        if (name := _name(word)) in options:
            raise UserError(f"{word} is no option here: say {options[name]}={word.partition('=')[2]}")


def _name(word: str) -> str:
    """The option that a word is about, whether it sets, adds or takes it away."""
    return word.lstrip("+~").partition("=")[0]
