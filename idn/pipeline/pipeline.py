"""Pipeline: stages one after the other, each one `idn` command; what is finished is not done again."""

import json
import os
import secrets
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open

from idn.errors import DamagedFile, ForeignFile, OptionError, UserError
from idn.files.atomic import atomic_write
from idn.files.folders import make_writable
from idn.files.option_checks import require_bool, require_int, require_words
from idn.files.run_folder import SUMMARY, newest_checkpoint
from idn.pipeline.subprocesses import Children, StageError, reason

RECORD = "stage.json"
"""In a stage's folder: the command that began there, what it was given by earlier stages, and whether it has ended."""

LOG = "log.txt"
PRODUCTS = {
    "train": "student.safetensors",
    "train-teacher": "teacher.safetensors",
    "train-scorer": "scorer.safetensors",
    "train-encoder": "encoder.safetensors",
    "cache": "cache.json",
}
"""By verb, what is there and whole in the folder of a stage that is finished."""
_RESUMABLE = ("train", "train-teacher", "train-scorer", "train-encoder")
_STOPPED = (130, 143)
"""Exit statuses of a command that somebody stopped: it has saved its state."""


@dataclass(frozen=True)
class Stage:
    """One command, or the same one with several seeds.

    verb, options: what a person would type after `idn`.
    needs: names of the stages whose results it reads.
    seeds: none, or one run per seed in a folder of its own.
    folder: the option that says where the verb writes.
    shown: whether the closing table has a row for it.
    Raises OptionError for seeds that are not different whole numbers, and for values of another kind than these.
    """

    verb: str
    options: Sequence[str] = ()
    needs: Sequence[str] = ()
    seeds: Sequence[int] = ()
    folder: str = "hydra.run.dir"
    shown: bool = False

    def __post_init__(self) -> None:
        require_words("options", self.options)
        require_words("needs", self.needs)
        if not isinstance(self.folder, str):
            raise OptionError("folder", self.folder, "must be one word")
        require_bool("shown", self.shown)
        listed = isinstance(self.seeds, Sequence) and all(type(seed) is int for seed in self.seeds)
        if not listed or len(set(self.seeds)) < len(self.seeds):
            raise OptionError("seeds", self.seeds, "must be a list of different whole numbers, such as [0,1,2]")

    def rehearsed(self, few: Sequence[str]) -> "Stage":
        """The same with the options `few` added, and its first seed alone."""
        return replace(self, options=(*self.options, *few), seeds=self.seeds[:1])


@dataclass(frozen=True)
class Run:
    """One command of a pipeline and the folder that belongs to it."""

    stage: str
    verb: str
    options: tuple[str, ...]
    out: Path
    folder: str
    needs: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """What follows `idn`."""
        return [self.verb, *self.options, f"{self.folder}={self.out}"]

    def record(self) -> dict | None:
        """What is known about the command that began in the folder; None if none has. UserError if it is damaged."""
        path = self.out / RECORD
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
            return {name: record[name] for name in ("words", "inputs", "mark")}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFile(path, f"is damaged: delete the folder {self.out}, and the stage is done again") from error

    def mark(self) -> str | None:
        """What tells this result from one that was made at another time; None unless it is there and whole."""
        record = self.record()
        return None if record is None or not self.whole() else record["mark"]

    def whole(self) -> bool:
        """Whether the product of the command is there and complete, whatever its exit status was."""
        if self.verb not in PRODUCTS:
            return True
        path = self.out / PRODUCTS[self.verb]
        try:
            if path.suffix == ".json":
                return json.loads(path.read_text())["error"] is not None  # a cache knows it once all shards are there
            with safe_open(path, framework="numpy"):  # refuses a file of another length than it declares
                return True
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return False

    def resumed(self) -> list[str]:
        """The words, and the newest checkpoint of the folder to go on from if there is one."""
        saved = newest_checkpoint(self.out)
        return [*self.words, f"resume={saved}"] if saved and self.verb in _RESUMABLE else self.words


class Pipeline:
    """Stages in order, in the folder `out`.

    stages: by name, see Stage; None leaves a stage out. jobs: runs of one stage that go on side by side, which share
    the processor cores. fresh: `run` deletes what an earlier one made of these stages in `out`, and begins anew. Raises
    UserError, before anything runs, for a folder that holds a stage with other options, or one that was made from
    results that are gone.
    """

    def __init__(self, stages: Mapping[str, Stage | None], out: str | Path, jobs: int, fresh: bool = False) -> None:
        require_int("jobs", jobs, 1)
        self.out, self.jobs = Path(out), jobs
        self.stages = {name: stage for name, stage in stages.items() if stage is not None}
        if not self.stages:
            raise UserError("this pipeline has no stages: choose a config that has some, such as pipeline_small")
        self._check_needs(stages)
        self.runs = {name: self._expand(name, stage) for name, stage in self.stages.items()}
        self._children, self._fresh = Children(), fresh
        if not fresh:
            self._check()

    def run(self) -> None:
        """Do what is left, then print the table.

        Raises UserError when a stage fails and when another pipeline works in the folder, and SystemExit with 128 + the
        number of the signal when somebody stops it; what is finished stays, and what is not goes on from its last
        checkpoint the next time.
        """
        make_writable("out", self.out)
        try:
            with FileLock(self.out / ".lock", timeout=0), self._children.stoppable():
                if self._fresh:
                    self._forget()
                for number, (name, runs) in enumerate(self.runs.items(), 1):
                    self._stage(f"[{number}/{len(self.runs)}] {name}", name, runs)
        except Timeout as error:
            raise UserError(f"another `idn pipeline` is at work in {self.out}: wait for it, or stop it") from error
        self.show()

    def show(self) -> None:
        """Print what the shown stages reached, means over their seeds with all values."""
        rows = {name: [_summary(run.out) for run in self.runs[name]] for name, s in self.stages.items() if s.shown}
        columns = [key for key in _columns() if any(key in one for several in rows.values() for one in several)]
        table = Table(title=f"{self.out}: held-out people", title_justify="left")
        for column in ("stage", *columns):
            table.add_column(column, no_wrap=column == "stage")
        for name, several in rows.items():
            table.add_row(name, *(_cell([one[key] for one in several if key in one]) for key in columns))
        Console().print(table)
        print(f"everything is in {self.out}")

    def _all(self) -> Iterator[Run]:
        for runs in self.runs.values():
            yield from runs

    def _check_needs(self, named: Mapping[str, Stage | None]) -> None:
        """Raise OptionError for a stage that needs one which does not come before it; one that is left out may be."""
        before = [name for name, stage in named.items() if stage is None]
        for name, stage in self.stages.items():
            if unknown := [needed for needed in stage.needs if needed not in before]:
                raise OptionError(f"stages.{name}.needs", unknown[0], "must be the name of an earlier stage")
            before.append(name)

    def _check(self) -> None:
        """Raise UserError for a folder that holds something else than this pipeline would make there."""
        for run in self._all():
            record = run.record()
            if record is None:
                continue
            if record["words"] != run.words:
                raise ForeignFile(
                    run.out, f"holds stage {run.stage}, begun with other options: choose another out=, or delete it"
                )
            if record["inputs"] != self._inputs(run):
                raise ForeignFile(
                    run.out,
                    f"holds stage {run.stage}, made from results of earlier stages that are gone: delete it, too",
                )

    def _forget(self) -> None:
        """Delete the folders of all stages, if a pipeline has made them."""
        for run in self._all():
            if run.record() is not None:
                shutil.rmtree(run.out)

    def _expand(self, name: str, stage: Stage) -> list[Run]:
        places = {f"{name}_{seed}": (*stage.options, f"seed={seed}") for seed in stage.seeds}
        return [
            Run(name, stage.verb, options, self.out / place, stage.folder, tuple(stage.needs))
            for place, options in (places or {name: tuple(stage.options)}).items()
        ]

    def _inputs(self, run: Run) -> dict[str, str | None]:
        """By stage folder that the run reads, the mark of what is there: a new one every time, None if unfinished."""
        return {str(other.out): other.mark() for other in self._all() if other.stage in run.needs}

    def _stage(self, head: str, name: str, runs: Sequence[Run]) -> None:
        left = [run for run in runs if run.mark() is None]
        if not left:
            print(f"{head}: finished before", flush=True)
            return
        seeds = f"   ({len(left)} seeds)" if len(left) > 1 else ""
        print(f"{head}: idn {shlex.join(left[0].words)}{seeds}", flush=True)
        start = time.monotonic()
        beside = min(self.jobs, len(left))
        with ThreadPoolExecutor(beside) as pool:
            codes = list(pool.map(lambda run: self._run(run, beside), left))
        asked = None if self._children.stopped is None else 128 + self._children.stopped
        if status := asked or next((code for code in codes if code in _STOPPED), None):
            print(f"stopped in stage {name}: the same command goes on there", file=sys.stderr)
            raise SystemExit(status)
        if failed := [(run, code) for run, code in zip(left, codes, strict=True) if code]:
            run, code = failed[0]
            log = run.out / LOG
            said = f"failed: {reason(log, code)}; once that is mended, the same command goes on there"
            raise StageError(name, log, said)
        if lacking := [run for run in left if not run.whole()]:
            run = lacking[0]
            said = f"ended without a whole {run.out / PRODUCTS[run.verb]}: the same command tries it again"
            raise StageError(name, run.out / LOG, said)
        print(f"{head}: {(time.monotonic() - start) / 60:.1f} min", flush=True)

    def _run(self, run: Run, beside: int) -> int:
        """Run one command to its end, its output in log.txt; continue from its last checkpoint if there is one.

        beside: how many go on at a time.
        """
        run.out.mkdir(parents=True, exist_ok=True)
        record = {"words": run.words, "inputs": self._inputs(run), "mark": None}
        _write(run.out / RECORD, record)
        threads = max(1, (os.cpu_count() or 1) // beside)
        environment = os.environ | ({} if beside == 1 else {"OMP_NUM_THREADS": str(threads)})
        command = [sys.executable, "-m", "idn", *run.resumed()]
        code = self._children.run(command, run.out / LOG, environment)
        if code == 0 and run.whole():
            _write(run.out / RECORD, record | {"mark": secrets.token_hex(8)})
        return code


def _columns() -> dict[str, str]:
    """Head of every column of the closing table, and the metric in it."""
    from idn.metrics.swaps import SWAP_METRICS  # not above: it brings PyTorch, which only the stages need

    return {metric.column: metric.key for metric in SWAP_METRICS if metric.column is not None}


def _write(path: Path, record: dict) -> None:
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(record))


def _summary(out: Path) -> dict[str, float]:
    """What a run reached, by column of the closing table; empty where it did not say or its file is damaged."""
    try:
        values = json.loads((out / SUMMARY).read_text())
        return {column: float(values[key]) for column, key in _columns().items() if key in values}
    except (OSError, ValueError, TypeError):
        return {}


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.2f}' for value in values)})"
