"""`idn triplets`: run the jobs of all works in several processes, write their files, and note each in a manifest."""

import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

import idn
from idn.data.alignment.workers import one_thread
from idn.data.fstriplets.manifest import MANIFEST, Record, Settings, read_manifest
from idn.errors import FileError, OptionError, UserError
from idn.files.digests import content_sha256
from idn.files.folders import make_writable
from idn.files.json_lines import JsonLines
from idn.files.option_checks import require_int
from idn.files.photos import printable
from idn.files.refused_disk import refused_disk
from idn.triplets.pictures import link, put
from idn.triplets.sheet import SHEET, contact_sheet
from idn.triplets.work import Work


class Jobs(Dataset[Record | OSError]):
    """Item i does job i, writes its files and answers with its record, or with the error of a disk that refuses."""

    def __init__(self, folder: Path, jobs: Sequence[tuple[Work, int, str]]) -> None:
        """jobs: the work, the number there, and the name."""
        self.folder, self.jobs = folder, jobs

    def __len__(self) -> int:
        """Number of jobs."""
        return len(self.jobs)

    def __getitem__(self, item: int) -> Record | OSError:
        """Do one."""
        work, number, name = self.jobs[item]
        made = work.make(number)
        try:
            for path, content in made.files.items():
                put(self.folder / path, content)
            for path, to in made.links.items():
                link(self.folder / path, self.folder / to)
        except OSError as error:
            return error
        digests = {path: content_sha256(content) for path, content in made.files.items()}
        digests |= {path: digests[to] for path, to in made.links.items()}
        triplets = [asdict(triplet) for triplet in made.triplets]
        return Record(name, made.status, made.reason, triplets, digests, made.landmarks, made.passed_over)


@dataclass
class TripletReport:
    """What a folder of triplets holds now."""

    folder: Path
    records: list[Record] = field(default_factory=list)
    fresh: int = 0
    """Triplets of this run."""
    seconds: float = 0.0
    """Duration of this run."""
    notes: list[str] = field(default_factory=list)
    """What could not be made at all, in sentences."""

    def classes(self) -> Counter[str]:
        """Triplets by class."""
        return Counter(triplet["folder"] for record in self.records for triplet in record.triplets)

    def table(self) -> Table:
        """Triplets by class, what was left out and why, and the speed."""
        table = Table("", "triplets", "", title=printable(str(self.folder)))
        counts = self.classes()
        for name, count in sorted(counts.items()):
            table.add_row(name, str(count), "")
        rate = f"{self.fresh} in {self.seconds:.0f} s, {self.fresh / max(self.seconds, 1e-3):.1f} a second"
        table.add_row("all", str(counts.total()), rate, end_section=True)
        for status, count in sorted(Counter(record.status for record in self.records).items()):
            if status != "ok":
                first = next(record for record in self.records if record.status == status)
                table.add_row(status, f"{count} left out", printable(f"{first.job}: {first.reason}"))
        passed = [(name, why) for record in self.records for name, why in record.passed_over.items()]
        if passed:
            table.add_row("edits that did not fit a face", str(len(passed)), printable(": ".join(passed[0])))
        return table


def make_triplets(
    dst: str,
    works: Sequence[Work],
    size: int,
    template: str,
    seed: int,
    workers: int = 0,
    sheet: int = 4,
    notes: Sequence[str] = (),
) -> TripletReport:
    """Do all jobs of all works that no earlier run has done, and draw a contact sheet.

    dst: folder for the triplets and triplets.jsonl.
    works: what makes them, built for this size, template and seed.
    workers: processes that share the jobs; 0 does them in this one; the files are the same.
    sheet: examples of each class on contact_sheet.png; 0 draws none.
    notes: sentences on what could not be made, for the report.
    Prints the counts. Raises OptionError for a folder that cannot work, that holds something else, or was begun with
    other options, and FileError if nothing could be made.
    """
    require_int("workers", workers, 0)
    require_int("sheet", sheet, 0)
    folder = Path(str(dst))
    facts = {name: value for work in works for name, value in work.facts().items()}
    settings = Settings(template, size, any(work.photographs for work in works), seed, idn.__version__, facts)
    done = _begun(folder, settings)
    make_writable("dst", folder)
    wanted = [(work, number, name) for work in works for number, name in enumerate(work.jobs())]
    known = {record.job for record in done}
    jobs = [job for job in wanted if job[2] not in known]
    report = TripletReport(folder, done, notes=list(notes))
    _run(folder, settings, Jobs(folder, jobs), workers, len(wanted), report)
    if sheet and report.classes():
        contact_sheet(folder, report.records, sheet)
    Console().print(report.table())
    for note in report.notes:
        print(note, file=sys.stderr)
    if not report.classes() and not any(record.status == "ok" for record in report.records):
        raise FileError(folder, "holds no triplet: every job was left out, see above")
    if report.classes() and sheet:
        print(f"examples: {folder / SHEET}")
    return report


def _begun(folder: Path, settings: Settings) -> list[Record]:
    """Records of earlier runs. Raises OptionError for a folder of something else, or begun with other options."""
    known, records = read_manifest(folder)
    if known is None:
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            wanted = f"holds other files and no {MANIFEST}: give a new or an empty folder"
            raise OptionError("dst", folder, wanted)
        return []
    before = {"template": known.template, "size": known.size, "seed": known.seed, **known.options}
    after = {"template": settings.template, "size": settings.size, "seed": settings.seed, **settings.options}
    for name in dict.fromkeys([*after, *before]):
        if before.get(name) != after.get(name):
            wanted = f"differs from {_short(before.get(name))}, with which {folder} was begun: repeat that to continue"
            raise OptionError(name, _short(after.get(name)), f"{wanted}, or give another dst")
    return records


def _short(value: Any) -> str:
    said = "null" if value is None else str(value)
    return said if len(said) < 80 else f"{said[:77]}..."


def _run(folder: Path, settings: Settings, jobs: Jobs, workers: int, total: int, report: TripletReport) -> None:
    """Do the jobs and note each, behind a progress bar. Raises OptionError if the disk refuses."""
    started, fresh = time.monotonic(), not (folder / MANIFEST).is_file()
    lines = JsonLines(folder / MANIFEST)
    try:
        with (
            refused_disk("dst", folder, "all triplets so far"),
            one_thread(),
            closing(_tracked(_all(jobs, workers), total - len(jobs), total)) as found,
        ):
            if fresh:
                lines.append(asdict(settings))
            for record in found:
                if isinstance(record, OSError):
                    raise record
                lines.append(record.as_line())
                report.records.append(record)
                report.fresh += len(record.triplets)
    except KeyboardInterrupt:
        said = f"stopped: {len(report.records)} of {total} jobs are done, the same command goes on with the others"
        print(said, file=sys.stderr)
        raise
    finally:
        lines.close()
    report.seconds = time.monotonic() - started


def _all(jobs: Jobs, workers: int) -> Iterator[Record | OSError]:
    """All items in order. Raises UserError if one of the processes is killed."""
    try:
        yield from DataLoader(jobs, batch_size=None, num_workers=min(workers, len(jobs)))
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        said = "a process that made triplets was killed, perhaps because the memory is full: all so far are kept, "
        raise UserError(f"{said}run again with fewer workers") from error


def _tracked(found: Iterator[Record | OSError], done: int, total: int) -> Generator[Record | OSError, None, None]:
    """Pass on what the jobs answer, behind a progress bar that counts those of earlier runs as done."""
    columns = (TextColumn("triplets"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("triplets", total=total, completed=done)
        for record in found:
            yield record
            progress.advance(task)
