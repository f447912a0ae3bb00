"""Outcomes of a sweep: what became of each run, as JSON lines that several processes append to; whose files go."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock

from idn.errors import DamagedFile, MissingFile
from idn.files.run_folder import CHECKPOINTS

NOTES = "sweep.jsonl"
"""Name of the file of outcomes, in the folder of a sweep."""

State = Literal["unfinished", "finished", "failed", "hopeless"]


class Reached(NamedTuple):
    """What a run of a sweep has reached."""

    values: dict[str, float]
    """Of all its metrics, by key, such as "val/swap_gain"."""
    objectives: list[str]
    """Keys of those by which runs are compared."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run of a sweep, so far."""

    folder: str
    """Its name, in that of the sweep."""
    options: list[str]
    """Those in which it differs from the others."""
    command: list[str]
    """What makes it once more: the words after `idn`."""
    state: State = "unfinished"
    reason: str | None = None
    """Why it came to no result, was ended early, or went on as another run."""
    values: dict[str, float] = field(default_factory=dict)
    """Of its metrics, by key; of an unfinished run, none."""
    objectives: list[str] = field(default_factory=list)
    """Keys of the metrics by which the runs are compared."""
    minutes: float = 0.0

    @property
    def choices(self) -> dict[str, str]:
        """Its options, by name."""
        pairs = (option.lstrip("+").partition("=") for option in self.options)
        return {name: value for name, _, value in pairs}

    def line(self, sweep: Path) -> str:
        """What is said of a run that came to no result. sweep: the folder of all of them."""
        return f"{' '.join(self.options) or 'a run'} in {sweep / self.folder}: {self.reason}"


class Notes:
    """The file of outcomes of a sweep. path: of the file, which need not be there yet.

    A line per event; the last one of a folder counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, outcome: Outcome) -> None:
        """Append what became of a run; whoever else does waits."""
        line = json.dumps(asdict(outcome)) + "\n"
        with FileLock(f"{self.path}.lock"), self.path.open("a") as file:
            file.write(line)

    def read(self) -> list[Outcome]:
        """What became of every run, in the order in which they began. Raises DamagedFile for a foreign file."""
        found: dict[str, Outcome] = {}
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):  # cut short by a kill
                    continue
                raise DamagedFile(self.path, f"is damaged in line {number}: remove that line") from error
            found[outcome.folder] = outcome
        return list(found.values())


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes of a sweep. Raises MissingFile if `folder` is none of a sweep, or none of its runs has begun."""
    found = Notes(folder / NOTES).read()
    if not found:
        raise MissingFile(folder / NOTES, "is not there or empty: give the folder of a sweep that has begun")
    return found


def remove_products(folder: Path, outcomes: Sequence[Outcome], kept: Sequence[Outcome]) -> None:
    """Remove checkpoints and products of the runs that have ended, but for those that are kept.

    folder: of the sweep. Metrics, pictures and configs stay.
    """
    for outcome in outcomes:
        if outcome not in kept and outcome.state != "unfinished":
            remove_states(folder / outcome.folder)


def remove_states(run: Path) -> None:
    """Remove checkpoints and product of a run. run: its folder."""
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
    for product in run.glob("*.safetensors"):
        product.unlink(missing_ok=True)


def varied(outcomes: Sequence[Outcome]) -> list[str]:
    """Names of the options in which the runs differ, in the order in which they were given."""
    return list(dict.fromkeys(name for outcome in outcomes for name in outcome.choices))


def plain(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as numbers that JSON holds; what is not finite is left out."""
    numbers = {key: float(value) for key, value in values.items()}
    return {key: value for key, value in numbers.items() if abs(value) < float("inf")}
