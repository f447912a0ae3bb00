"""Benchmark: latency, throughput, memory and size of every file of an export, and of PyTorch, side by side."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from idn.errors import OptionError, UserError
from idn.export.bench.worker import Outcome, Request, student_of
from idn.export.card import checked_file, read_card
from idn.export.formats import FORMATS, format_kind
from idn.export.isolated import death
from idn.export.products import check_size
from idn.files.atomic import atomic_write
from idn.files.option_checks import require_bool, require_int, require_number

UNTRUSTED = (
    "opening a program runs whatever code it holds; if you trust those who made this folder, add run_programs=true"
)


class Row(NamedTuple):
    """One subject with one number of threads."""

    name: str
    precision: str
    threads: int
    median_ms: float
    p95_ms: float
    per_second: float
    peak_mb: float | None
    file_mb: float | None


def bench(
    folder: Path | None,
    student: Path | Mapping[str, Any],
    size: int | None,
    threads: Sequence[int],
    seconds: float,
    rounds: int,
    precision: Sequence[str] | None,
    run_programs: bool,
    csv_path: Path | None,
    machine: str,
) -> list[Row]:
    """Measure every file that the card in `folder` names, and PyTorch with `student`, in `rounds` that take turns.

    folder: written by `idn export`, None measures PyTorch alone.
    student: its file, or a description by `describe_student`, whose random weights are as fast.
    size: of the targets in PyTorch, None takes the card's, or 224.
    threads, seconds, precision: of each measurement; of the files, None takes all.
    run_programs: also open files that can run any code then; otherwise they are left out, and a sentence says so.
    csv_path: the table once more.
    Of the rounds, the one with the lowest median counts. Prints the table. Raises UserError for a folder without its
    card, files that are missing or not those of the card, a size that the student has not and options without meaning;
    and, after all the others were measured, for what could not be.
    """
    card = None if folder is None else read_card(folder)
    _check(threads, seconds, rounds, run_programs)
    size = size or (224 if card is None else card["size"])
    records = [] if card is None else _runnable(card, precision)
    programs = [] if run_programs else [r["path"] for r in records if format_kind(r["format"]).runs_code]
    files = {record["path"]: record for record in records if record["path"] not in programs}
    subjects = _in_pytorch(student, size, threads, seconds)
    subjects += [_request(folder, card, record, n, seconds) for record in files.values() for n in threads]
    found, failed = _take_turns(subjects, rounds)
    rows = [_row(subjects[index], outcome, files) for index, outcome in found.items()]
    _tell(rows, size, machine, csv_path)
    if programs:
        print(f"left out   {', '.join(programs)}: {UNTRUSTED}")
    if failed:
        raise UserError("; ".join(dict.fromkeys(failed)))
    return rows


def _in_pytorch(student: Path | Mapping[str, Any], size: int, threads: Sequence[int], seconds: float) -> list[Request]:
    """What to measure of a student itself. Raises OptionError for a size that it has not."""
    known = str(student) if isinstance(student, Path) else student
    network = student_of(known)
    check_size(size, network.stride)
    names, module = network.deployment().timed(size), type(network).__module__
    return [Request(name, n, seconds, size, known, module) for name in names for n in threads]


def _runnable(card: Mapping[str, Any], precision: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """Records of the files that some runtime can run, of one of the precisions; None takes all.

    Raises UserError for a format that is not known here.
    """
    for record in card["files"]:
        if record["format"] not in FORMATS:
            raise UserError(f"the card says that {record['path']} is of format {record['format']}, unknown here")
    return [
        record
        for record in card["files"]
        if record["runtime"] is not None and (not precision or record["precision"] in precision)
    ]


def _request(folder: Path, card: Mapping[str, Any], record: Mapping[str, Any], threads: int, seconds: float) -> Request:
    """What to measure of a file, once its checksum is known to be right. Raises UserError otherwise."""
    path = checked_file(folder, record)
    shapes = [value["shape"] for value in card["networks"][record["network"]]["inputs"]]
    size, kind = card["size"], record["format"]
    return Request(record["path"], threads, seconds, size, file=str(path), format=kind, shapes=shapes)


def _take_turns(subjects: Sequence[Request], rounds: int) -> tuple[dict[int, Outcome], list[str]]:
    """The best outcome of every subject by its number, without those that failed once, and what these said."""
    turns: list[list[Outcome]] = [[] for _ in subjects]
    failed: dict[int, str] = {}
    order = [index for _ in range(rounds) for index in range(len(subjects))]
    with Progress(console=Console(stderr=True)) as progress:
        for index in progress.track(order, description="measuring"):
            if index in failed:
                continue
            try:
                turns[index].append(measured(subjects[index]))
            except UserError as error:
                failed[index] = str(error)
    whole = {index: outcomes for index, outcomes in enumerate(turns) if index not in failed}
    return {k: min(v, key=lambda outcome: outcome.median_ms) for k, v in whole.items()}, list(failed.values())


def measured(request: Request) -> Outcome:
    """Run one request in a process of its own. Raises UserError with what it said last if it fails."""
    environment = os.environ | {name: str(request.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "idn.export.bench.worker", json.dumps(request._asdict())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() if done.returncode > 0 else []
        reason = said[-1] if said else death(done.returncode)
        raise UserError(f"{request.subject} could not be measured ({reason}): leave it out of the folder's card")
    return Outcome(**json.loads(done.stdout.strip().splitlines()[-1]))


def _check(threads: Sequence[int], seconds: float, rounds: int, run_programs: bool) -> None:
    if not threads or any(not isinstance(n, int) or not 1 <= n <= 256 for n in threads):
        raise OptionError("threads", list(threads), "must be whole numbers, 1 to 256")
    require_number("seconds", seconds)
    if seconds <= 0:
        raise OptionError("seconds", seconds, "must be more than 0")
    require_int("rounds", rounds, 1)
    require_bool("run_programs", run_programs)


def _row(request: Request, outcome: Outcome, records: Mapping[str, Mapping[str, Any]]) -> Row:
    """records: of the files by their names; other subjects have none."""
    name = request.subject
    record = records.get(name, {"precision": "fp32"})
    rate = 1000 / outcome.median_ms
    numbers = (round(x, 3) for x in (outcome.median_ms, outcome.p95_ms, rate))
    peak = None if outcome.peak_mb is None else round(outcome.peak_mb, 3)
    size = record["bytes"] / 1e6 if "bytes" in record else None
    return Row(name, record["precision"], request.threads, *numbers, peak, size)


def _tell(rows: Sequence[Row], size: int, machine: str, csv_path: Path | None) -> None:
    """The table, if there is one, printed and as a file."""
    if rows:
        _print(rows, size, machine)
    if rows and csv_path is not None:
        _write(rows, csv_path)


def _print(rows: Sequence[Row], size: int, machine: str) -> None:
    table = Table(title=f"{size} px, one frame per call, on {machine}", title_justify="left")
    table.add_column("what", no_wrap=True)
    for name in ("threads", "median ms", "p95 ms", "per second", "peak MB", "file MB"):
        table.add_column(name, justify="right")
    for row in rows:
        times = (f"{row.median_ms:.2f}", f"{row.p95_ms:.2f}", f"{row.per_second:.1f}")
        peak = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        table.add_row(row.name, str(row.threads), *times, peak, "" if row.file_mb is None else f"{row.file_mb:.2f}")
    Console().print(table)


def _write(rows: Sequence[Row], path: Path) -> None:
    with atomic_write(path) as draft, draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)
    print(f"table: {path}")
