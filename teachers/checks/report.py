"""What `idn teachers` prints."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table

from idn.errors import UserError
from idn.hardware import choose_device
from idn.types import IdentityEncoder
from teachers.base import FrozenTeacher, PairData
from teachers.catalogue import CATALOGUE, UNKNOWN
from teachers.checks.selftest import examine

_FACES = 4
_WIDE = 160
"""Columns of the list where no terminal limits them; a narrower one gets two columns, so that no name is cut."""
_TERMS = {True: "allowed", False: "forbidden", None: "ask"}
_MARKS = {True: "[green]passed[/]", False: "[red]failed[/]", None: ""}


def show_catalogue(files: Mapping[str, Sequence[str]]) -> None:
    """Print one row per teacher. files: by name, those it needs, "" for one that only the user has."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    title = "teachers: train with teacher=NAME, examine with check=NAME"
    table = Table(title=title, title_justify="left", show_lines=console.width < _WIDE)
    rows = [_row(name, files[name]) for name in sorted(files, key=lambda name: (not files[name], name))]
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


def _row(name: str, files: Sequence[str]) -> tuple[str, ...]:
    """What the list says of a teacher: eight cells, the last two with a line per file."""
    entry, needed = CATALOGUE.get(name, UNKNOWN), [Path(file) for file in files if file]
    own = ["your own"] if "" in files else []
    return (
        name,
        str(entry.size or "any"),
        "-" if not entry.parameters else f"{entry.parameters / 1e6:.1f} M",
        "-" if not entry.gmacs else f"{entry.gmacs:.1f}",
        entry.licence,
        _TERMS[entry.commercial],
        "\n".join([*(path.name for path in needed), *own]) or "none",
        "\n".join("yes" if path.is_file() else "no" for path in needed),
    )


def examine_and_show(
    teacher: FrozenTeacher,
    encoder: IdentityEncoder,
    data: PairData,
    device: str,
    rounds: int,
) -> None:
    """Examine a teacher on the first held-out pairs of `data` and print what was found.

    device: see `choose_device`. Raises UserError, after the table, if a check failed, and if the device is not there.
    """
    where = choose_device(device)
    pairs = teacher.attach(data, encoder).val
    batch = pairs[0] if data.collate is None else data.collate([pairs[i] for i in range(_FACES)])
    findings = examine(teacher.to(where), encoder.to(where), batch.take(slice(_FACES)).to(where), rounds)
    record = teacher.record
    title = f"{record.name}{f' ({record.variant})' if record.variant else ''}, licence {record.licence}, on {where}"
    table = Table(title=title, title_justify="left")
    for column in ("check", "value", "wanted", ""):
        table.add_column(column)
    for finding in findings:
        table.add_row(finding.check, finding.value, finding.wanted, _MARKS[finding.passed])
    Console().print(table)
    if failed := [finding.check for finding in findings if finding.passed is False]:
        raise UserError(
            f"{len(failed)} of {len(findings)} checks failed ({', '.join(failed)}): this teacher, with this file and "
            "these options, would teach something else than swapping"
        )
