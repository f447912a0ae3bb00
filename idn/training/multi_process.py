"""Several processes, one for each device, that train one network together (Lightning's DDP)."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, distributed

from idn.errors import UserError

PATIENCE = 10.0
"""Seconds that another process leaves to the first one, which may have the same trouble and then ends it."""

FAREWELL = 5.0
"""Seconds that the first process has to save what it can after another one has failed."""

_LAUNCHER = "_SubprocessScriptLauncher"
"""What Lightning calls the launcher that starts the program anew for every device; others fork it."""

_LOOK = 0.2
"""Seconds between two looks at the others."""


def check_processes(trainer: pl.Trainer, sweep: bool = False) -> None:
    """Raise UserError for several devices that cannot train together: in a sweep, on several machines, without DDP."""
    if trainer.world_size == 1:
        return
    if sweep:
        raise UserError("trainer.devices must be 1 in a sweep (-m): leave -m out, or train every run on one device")
    strategy = trainer.strategy
    if trainer.num_nodes != 1 or not isinstance(getattr(strategy, "cluster_environment", None), LightningEnvironment):
        raise UserError(
            "several devices train together on one machine, where idn starts a process for each: set "
            "trainer.num_nodes=1, and start idn without torchrun or srun"
        )
    if not isinstance(strategy, DDPStrategy) or type(strategy.launcher).__name__ != _LAUNCHER:
        raise UserError("several devices train together by trainer.strategy=ddp alone: choose it, or auto")


def check_single(trainer: pl.Trainer, verb: str, reason: str) -> None:
    """Raise UserError, with the reason, if a training that one process has to do is given several devices."""
    if trainer.world_size != 1:
        raise UserError(f"trainer.devices and trainer.num_nodes must be 1 for `idn {verb}`: {reason}")


def mean_of_all(value: Tensor) -> Tensor:
    """The mean of a number over all processes, which call this together; it is finite only if all the numbers are."""
    value = value.detach().clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value


@contextlib.contextmanager
def united(trainer: pl.Trainer) -> Iterator[None]:
    """While the trainer runs, whatever ends one process of the run ends all of them, and one says why.

    The first process says it for errors that all have. For an error of another process alone, that one does, and the
    first exits with its status. Raises UserError if another one was killed from outside.
    """
    if trainer.world_size == 1:
        yield
    elif trainer.is_global_zero:
        with _leading(_Others(trainer)):
            yield
    else:
        with _following():
            yield


@contextlib.contextmanager
def _following() -> Iterator[None]:
    """Another process than the first: let that one speak, and end when it is gone."""
    over, first = threading.Event(), os.getppid()

    def watch() -> None:
        while not over.wait(_LOOK):
            if os.getppid() != first:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
        distributed.destroy_process_group()
    except Exception:
        time.sleep(PATIENCE)
        raise
    finally:
        over.set()


@contextlib.contextmanager
def _leading(others: "_Others") -> Iterator[None]:
    """The first process: look after the others."""
    threading.Thread(target=others.watch, daemon=True).start()
    try:
        yield
        distributed.destroy_process_group()
        others.leave()
    except RuntimeError as error:  # such as a broken connection
        status = others.failure(wait=1.0)
        if status is None:
            raise
        complaint = others.complaint()
        raise (SystemExit(status) if complaint is None else UserError(complaint)) from error
    finally:
        others.end()


class _Others:
    """The processes that the trainer of the first one starts."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self.launcher = trainer.strategy.launcher
        self.over = threading.Event()

    def watch(self) -> None:
        """Until the end, look whether one has failed; then leave, even if the main thread waits for it forever."""
        self._take_over()
        while not self.over.wait(_LOOK):
            status = self.failure()
            if status is not None and not self.over.wait(FAREWELL):
                if complaint := self.complaint():
                    print(f"idn: {complaint}", file=sys.stderr)
                self.end()
                os._exit(status)

    def failure(self, wait: float = 0.0) -> int | None:
        """The exit status that one which failed gives to the run, None while there is none.

        wait: seconds in which one may still turn up.
        """
        until = time.monotonic() + wait
        while True:
            for process in self.launcher.procs:
                if process.poll():
                    return process.returncode if process.returncode > 0 else 2
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOK)

    def complaint(self) -> str | None:
        """What to say of one that was killed, and could say nothing itself."""
        killed = [-process.returncode for process in self.launcher.procs if (process.poll() or 0) < 0]
        if not killed:
            return None
        name = signal.Signals(killed[0]).name
        return f"a process of this run was ended by {name}: if memory was full, take fewer devices or a smaller batch"

    def leave(self) -> None:
        """Wait a moment for the others, who are done as well."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and any(process.poll() is None for process in self.launcher.procs):
            time.sleep(_LOOK)

    def end(self) -> None:
        """Stop the watch, and the others, at once: they have nothing to save."""
        self.over.set()
        for process in self.launcher.procs:
            process.kill()

    def _take_over(self) -> None:
        """Wait until the others are there, and be the only one to watch them.

        Lightning's observer ends everything by SIGKILL, without an exit status. It looks at its list every 5 seconds,
        and stops when that is empty.
        """
        while not self.over.wait(_LOOK):
            observed = self.launcher.procs
            if len(observed) == self.launcher.num_processes - 1:
                self.launcher.procs = list(observed)
                observed.clear()
                return
