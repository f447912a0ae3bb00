"""Loggers: a CSV table that a resumed run continues, and the end of all loggers of a run."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from idn.files.atomic import atomic_write


class ResumableCsvLogger(pl.loggers.Logger):
    """Writes `metrics.csv`: a row for everything that is logged at once, a column per metric, empty where it is not.

    A run that goes on in the same folder continues the table where it goes on; nothing is changed before.
    directory: of the file.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self.columns: list[str] = []

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "curve"

    @property
    def version(self) -> str:
        """There is one per folder."""
        return ""

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """The folder of a run holds its config already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, without epochs, which a stream has not. step: of the optimizer, from 0, at which it was found."""
        row = {key: value for key, value in metrics.items() if key != "epoch"} | {"step": step}
        if row.keys() <= set(self.columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            self._write([*self._read(), row])

    @rank_zero_only
    def cut(self, step: int, validated: bool = True) -> None:
        """Drop the rows from `step` on, which a run wrote that did not get as far as its next checkpoint.

        validated: whether the validation before that step, if any, is over; if not, its row goes as well.
        """
        if self.path.is_file():
            rows = [row for row in self._read() if int(row["step"]) < step]
            self._write([row for row in rows if validated or int(row["step"]) < step - 1 or not _of_validation(row)])

    def column(self, key: str) -> dict[int, float]:
        """A metric by the step at which it was found."""
        return {int(row["step"]): float(row[key]) for row in self._read() if row.get(key)}

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        lines = self.path.read_text(errors="replace").splitlines()
        rows = csv.DictReader(lines, restkey="", quoting=csv.QUOTE_NONE)
        return [row for row in rows if "" not in row and (row.get("step") or "").isdecimal()]  # a kill may cut the last

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.columns = sorted({key for row in rows for key in row} | {"step"})
        with atomic_write(self.path) as draft, draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


def _of_validation(row: Mapping[str, Any]) -> bool:
    return any(value not in (None, "") for key, value in row.items() if key.startswith("val/"))


@contextmanager
def closing(loggers: Sequence[pl.loggers.Logger]) -> Iterator[None]:
    """End the runs of W&B with ours, whatever ends it: the next one in this process would be logged into them."""
    failed = 1
    try:
        yield
        failed = 0
    finally:
        for logger in loggers:
            if isinstance(logger, pl.loggers.WandbLogger):
                logger.experiment.finish(exit_code=failed)
