"""A sequence of runs with one config: every stage is one `idn` command, and what is finished is not done again."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from idn.errors import UserError

FINISHED = "finished.json"
"""Written into a stage's folder when its command has succeeded; holds the command."""
_RESUMABLE = ("train", "teacher", "quality", "identity")


@dataclass(frozen=True)
class Stage:
    """One command, or the same one with several seeds.

    verb, options: what a person would type after `idn`. seeds: none, or one run per seed in a folder of its own.
    folder: the option that says where the verb writes. shown: whether the closing table has a row for it.
    """

    verb: str
    options: Sequence[str] = ()
    seeds: Sequence[int] = ()
    folder: str = "hydra.run.dir"
    shown: bool = False

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
    folder: str = field(default="hydra.run.dir")

    @property
    def words(self) -> list[str]:
        """What follows `idn`."""
        return [self.verb, *self.options, f"{self.folder}={self.out}"]

    @property
    def is_finished(self) -> bool:
        """Whether it has been run to its end. Raises UserError if that was with other options."""
        marker = self.out / FINISHED
        if not marker.is_file():
            return False
        if json.loads(marker.read_text()) != self.words:
            raise UserError(
                f"{self.out} holds stage {self.stage}, run with other options: choose another out=, or delete it"
            )
        return True


class Pipeline:
    """Stages in order, in the folder `out`. Raises UserError for a stage whose folder was made with other options.

    stages: by name, see Stage; None leaves a stage out. jobs: runs of one stage that go on side by side, which share
    the processor cores.
    """

    def __init__(self, stages: Mapping[str, Stage | None], out: str | Path, jobs: int) -> None:
        if jobs < 1:
            raise UserError(f"jobs={jobs} must be at least 1")
        self.out, self.jobs = Path(out), jobs
        self.stages = {name: stage for name, stage in stages.items() if stage is not None}
        if not self.stages:
            raise UserError("this pipeline has no stages: choose one, such as experiment=pipeline_small")
        self.runs = {name: self._expand(name, stage) for name, stage in self.stages.items()}
        self.done = {run.out for runs in self.runs.values() for run in runs if run.is_finished}

    def run(self) -> None:
        """Do what is left, then print the table. Raises UserError when a stage fails; what is finished stays."""
        for number, (name, runs) in enumerate(self.runs.items(), 1):
            left = [run for run in runs if run.out not in self.done]
            head = f"[{number}/{len(self.runs)}] {name}"
            if not left:
                print(f"{head}: finished before", flush=True)
                continue
            seeds = f"   ({len(left)} seeds)" if len(left) > 1 else ""
            print(f"{head}: idn {shlex.join(left[0].words)}{seeds}", flush=True)
            start = time.monotonic()
            with ThreadPoolExecutor(self.jobs) as pool:
                codes = list(pool.map(self._run, left))
            if failed := [run for run, code in zip(left, codes, strict=True) if code]:
                log = failed[0].out / "log.txt"
                raise UserError(
                    f"stage {name} failed: {_last_line(log)} (all of it: {log}); once that is mended, the same command "
                    "goes on there"
                )
            print(f"{head}: {(time.monotonic() - start) / 60:.1f} min", flush=True)
        self.show()

    def show(self) -> None:
        """Print what the shown stages reached, means over their seeds with all values."""
        rows = {name: [_summary(run.out) for run in self.runs[name]] for name, s in self.stages.items() if s.shown}
        columns = [key for key in SHOWN if any(key in one for several in rows.values() for one in several)]
        table = Table(title=f"{self.out}: held-out people", title_justify="left")
        for column in ("stage", *columns):
            table.add_column(column, no_wrap=column == "stage")
        for name, several in rows.items():
            table.add_row(name, *(_cell([one[key] for one in several if key in one]) for key in columns))
        Console().print(table)
        print(f"everything is in {self.out}")

    def _expand(self, name: str, stage: Stage) -> list[Run]:
        if not stage.seeds:
            return [Run(name, stage.verb, tuple(stage.options), self.out / name, stage.folder)]
        return [
            Run(name, stage.verb, (*stage.options, f"seed={seed}"), self.out / f"{name}_{seed}", stage.folder)
            for seed in stage.seeds
        ]

    def _run(self, run: Run) -> int:
        """Run one command to its end, its output in log.txt; continue from its last checkpoint if there is one."""
        run.out.mkdir(parents=True, exist_ok=True)
        words, last = run.words, run.out / "checkpoints" / "last.ckpt"
        if run.verb in _RESUMABLE and last.is_file():
            words = [*words, f"resume={last}"]
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = os.environ | ({} if self.jobs == 1 else {"OMP_NUM_THREADS": str(threads)})
        with (run.out / "log.txt").open("a") as log:
            code = subprocess.run(
                [sys.executable, "-m", "idn", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            ).returncode
        if code == 0:
            (run.out / FINISHED).write_text(json.dumps(run.words))
        return code


SHOWN = {
    "swap gain, dB": ("val/swap_gain",),
    "identity": ("val/identity_student", "val/identity_swap"),
    "PSNR to truth, dB": ("val/psnr_truth",),
}
"""Columns of the closing table; each shows the first of its metrics that a run has."""


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("idn: ").rstrip(".") if lines else "it said nothing"


def _summary(out: Path) -> dict[str, float]:
    path = out / "summary.json"
    values = json.loads(path.read_text()) if path.is_file() else {}
    found = {title: next((values[key] for key in keys if key in values), None) for title, keys in SHOWN.items()}
    return {title: value for title, value in found.items() if value is not None}


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.2f}' for value in values)})"
