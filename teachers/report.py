"""What `idn teachers` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import Dataset

from idn.errors import UserError
from idn.types import IdentityEncoder, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import CATALOGUE, UNKNOWN
from teachers.selftest import examine

_FACES = 4
_WIDE = 160
"""Columns that the list needs: a file name cut short helps nobody, a line that the terminal folds can be read."""
_TERMS = {True: "allowed", False: "forbidden", None: "ask"}
_MARKS = {True: "[green]passed[/]", False: "[red]failed[/]", None: ""}


def show_catalogue(files: Mapping[str, Sequence[str]]) -> None:
    """Print one row per teacher. files: by name, those it needs, "" for one that only the user has."""
    table = Table(title="teachers: train with teacher=NAME, examine with check=NAME", title_justify="left")
    for column in ("name", "px", "parameters", "GMAC", "licence", "commercial use", "files", "found"):
        right = column in ("px", "parameters", "GMAC")
        table.add_column(column, justify="right" if right else "left", no_wrap=column in ("name", "found"))
    for name in sorted(files, key=lambda name: (not files[name], name)):
        entry, needed = CATALOGUE.get(name, UNKNOWN), [Path(file) for file in files[name] if file]
        own = ["your own"] if "" in files[name] else []
        table.add_row(
            name,
            str(entry.size or "any"),
            "-" if not entry.parameters else f"{entry.parameters / 1e6:.1f} M",
            "-" if not entry.gmacs else f"{entry.gmacs:.1f}",
            entry.licence,
            _TERMS[entry.commercial],
            "\n".join([*(path.name for path in needed), *own]) or "none",
            "\n".join("yes" if path.is_file() else "no" for path in needed),
        )
    Console(width=max(Console().width, _WIDE)).print(table)
    folders = sorted({str(Path(file).parent) for several in files.values() for file in several if file})
    print(f"looked in {', '.join(folders)}: put downloaded files there, or set weights_dir=DIR or IDN_WEIGHTS")


def examine_and_show(
    teacher: FrozenTeacher,
    encoder: IdentityEncoder,
    data: Dataset[SwapBatch],
    collate: nn.Module | None,
    device: str,
    rounds: int,
) -> None:
    """Examine a teacher on the first pairs of a data set and print what was found.

    data: items are batches, or single pairs that `collate` joins. device: as torch names it. Raises UserError, after
    the table, if a check failed, and if the device is not there.
    """
    try:
        where = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device} is not available here: choose cpu, or cuda where there is a GPU") from error
    teacher.share(encoder)
    batch = data[0] if collate is None else collate([data[i] for i in range(_FACES)])
    batch = SwapBatch(*(None if field is None else field[:_FACES].to(where) for field in batch))
    findings = examine(teacher.to(where), encoder.to(where), batch, rounds)
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
