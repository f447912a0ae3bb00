"""What `idn teachers check=NAME` prints."""

from rich.console import Console
from rich.table import Table

from idn.errors import UserError
from idn.files.option_checks import require_int
from idn.hardware import choose_device
from idn.types import IdentityEncoder
from teachers.base import FrozenTeacher, PairData
from teachers.cached import CachedTeacher
from teachers.checks.selftest import examine

_FACES = 4
_MARKS = {True: "[green]passed[/]", False: "[red]failed[/]", None: ""}


def examine_and_show(
    teacher: FrozenTeacher,
    encoder: IdentityEncoder,
    data: PairData,
    device: str,
    rounds: int,
) -> None:
    """Examine a teacher on the first held-out pairs of `data` and print what was found.

    Of kept answers, a line says that they are whole and belong to these pairs: a teacher that answers nothing anew
    cannot be examined.
    device: see `choose_device`. Raises UserError, after the table, if a check failed, and if the device is not there.
    """
    require_int("rounds", rounds, 1)
    where = choose_device(device)
    pairs = teacher.attach(data, encoder).val
    if isinstance(teacher, CachedTeacher):
        print(
            f"{teacher.folder} holds whole files with answers of {teacher.record.name} to these pairs, and cosines of "
            "this identity encoder: nothing more can be examined of kept answers, only of the teacher that gave them"
        )
        return
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
