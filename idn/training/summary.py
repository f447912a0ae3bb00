"""Parts of what a run says at its end: metrics, places, and the command to try next."""

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from idn.files.atomic import atomic_write

SHARED = ("data", "encoder=", "encoder.", "seed")
"""Beginnings of options that a student must be given exactly as its teacher, scorer or cache was."""


def repeated(options: Iterable[str], beginnings: tuple[str, ...] = ("",)) -> str:
    """The options that begin so, ready to be pasted into a shell; a space follows each."""
    return "".join(f"{shlex.quote(word)} " for word in options if word.startswith(beginnings))


def command(verb: str, *options: str) -> str:
    """An `idn` command, ready to be pasted into a shell."""
    return shlex.join(["idn", verb, *options])


def metric_table(title: str, metrics: Mapping[str, float], meanings: Mapping[str, str]) -> Table:
    """A row for every metric that is there, in the order of `meanings`."""
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    for key, meaning in meanings.items():
        if key in metrics:
            table.add_row(key.removeprefix("val/"), f"{metrics[key]:.4f}", meaning)
    return table


def write_summary(out: Path, content: Mapping[str, Any]) -> None:
    """Write what a run reached as `out/summary.json`."""
    with atomic_write(out / "summary.json") as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n")


def places(out: Path) -> dict[str, Path]:
    """What a run leaves behind besides its result."""
    picture = max((out / "pictures").glob("*.png"), default=out / "pictures")
    last = out / "checkpoints" / "last.ckpt"
    return {"checkpoint": last, "metrics": out / "metrics" / "metrics.csv", "picture": picture}


def print_places(paths: Mapping[str, Path]) -> None:
    """One line for every path that exists."""
    for name, path in paths.items():
        if path.exists():
            print(f"{name:<11}{path}")
