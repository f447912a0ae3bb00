"""Names of runs for dashboards: what was chosen, in few words; the name of a sweep; tags."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

_SILENT = ("hydra", "sweep=", "metric=", "keep_losers=", "resume=", "logger", "callbacks", "trainer.accelerator=")
"""Beginnings of options that make no other student."""

_TAGGED = ("teacher", "encoder", "data", "loss", "reweight", "experiment", "recipe")
"""Groups whose choices are tags."""


def run_name(options: Sequence[str]) -> str:
    """What was chosen, such as "teacher=blend lr=0.005"; "default" where nothing was.

    options: as they were typed; the last one of a name counts.
    """
    told = [option.lstrip("+") for option in options if not option.lstrip("+~").startswith(_SILENT)]
    given = {name: value for name, equals, value in (word.partition("=") for word in told) if equals}
    pairs = [(name.split("."), value) for name, value in given.items()]
    ends = Counter(parts[-1] for parts, _ in pairs)
    short = [f"{parts[-1] if ends[parts[-1]] == 1 else '.'.join(parts)}={_brief(value)}" for parts, value in pairs]
    return " ".join(short) or "default"


def _brief(value: str) -> str:
    """Of a number four figures, of a path its end."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return Path(value).name if "/" in value else value


def sweep_name(mode: Any, folder: str) -> str | None:
    """The name of the sweep that a run belongs to, None for one alone. mode: of Hydra. folder: of the sweep."""
    return Path(str(folder)).name if mode == RunMode.MULTIRUN else None


def run_tags(choices: Mapping[str, str | None]) -> list[str]:
    """Choices of groups to find a run by, such as "teacher:blend"."""
    return [f"{group}:{choices[group]}" for group in _TAGGED if choices.get(group) is not None]


def run_choices() -> dict[str, str]:
    """By group, what the run of Hydra's has chosen."""
    choices = HydraConfig.get().runtime.choices
    chosen = {group: choice for group, choice in choices.items() if not group.startswith("hydra") and "@" not in group}
    return {group: str(choice) for group, choice in sorted(chosen.items()) if choice is not None}
