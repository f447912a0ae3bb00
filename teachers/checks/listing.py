"""The table of `idn teachers`: every teacher, its licence and its files."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from teachers.catalogue import COSTS, Costs, declared

_WIDE = 160
"""Columns of the list where no terminal limits them; a narrower one gets two columns, so that no name is cut."""
_TERMS = {True: "allowed", False: "forbidden", None: "ask"}


def show_catalogue(files: Mapping[str, Sequence[str]], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one row per teacher.

    files: by name, those it needs, "" for one that only the user has. options: by the same names, see `declared`.
    """
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    title = "teachers: train with teacher=NAME, examine with check=NAME"
    table = Table(title=title, title_justify="left", show_lines=console.width < _WIDE)
    rows = [_row(name, files[name], options[name]) for name in sorted(files, key=lambda name: (not files[name], name))]
    if console.width < _WIDE:
        table.add_column("name", no_wrap=True)
        table.add_column("what it is; licence; files, and if found")
        for name, size, parameters, macs, licence, terms, needed, found in rows:
            costs = f"{size} px, {parameters} parameters, {macs} GMAC"
            pairs = zip_longest(needed.splitlines(), found.splitlines())
            there = (": ".join(filter(None, pair)) for pair in pairs)
            table.add_row(name, "\n".join((costs, licence, f"commercial use: {terms}", *there)))
    else:
        for column in ("name", "px", "parameters", "GMAC", "licence", "commercial use", "files", "found"):
            right = column in ("px", "parameters", "GMAC")
            table.add_column(column, justify="right" if right else "left", no_wrap=column in ("name", "found"))
        for row in rows:
            table.add_row(*row)
    console.print(table)
    folders = sorted({str(Path(file).parent) for several in files.values() for file in several if file})
    print(f"looked in {', '.join(folders)}: put downloaded files there, or set weights_dir=DIR or IDN_WEIGHTS")


def _row(name: str, files: Sequence[str], options: Mapping[str, Any]) -> tuple[str, ...]:
    """What the list says of a teacher: eight cells, the last two with a line per file."""
    said, costs, needed = declared(options), COSTS.get(name, Costs()), [Path(file) for file in files if file]
    own = ["your own"] if "" in files else []
    return (
        name,
        str(said.size or "any"),
        "-" if costs.parameters is None else f"{costs.parameters / 1e6:.1f} M",
        "-" if costs.gmacs is None else f"{costs.gmacs:.1f}",
        said.licence,
        _TERMS[said.commercial],
        "\n".join([*(path.name for path in needed), *own]) or "none",
        "\n".join("yes" if path.is_file() else "no" for path in needed),
    )
