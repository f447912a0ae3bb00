"""DDP: processes, one for each device, that train one network together; torchrun's agent or a cluster starts them."""

import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, distributed
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from idn.errors import OptionError, UserError

PATIENCE = 10.0
"""Seconds that another process leaves to the first one, which may have the same trouble, and then speaks for all."""

PAUSE = 3.0
"""Seconds in which the first process is ended, if what broke is its connection to one that has failed."""


def check_processes(trainer: pl.Trainer) -> None:
    """Raise UserError for several devices that cannot train together: without DDP, or on machines nobody starts."""
    if trainer.world_size == 1:
        return
    if not isinstance(trainer.strategy, DDPStrategy) or trainer.strategy._start_method != "popen":
        raise UserError("several devices train together by the strategy ddp alone: choose it, or auto")
    if trainer.num_nodes != 1 and must_start(trainer):
        raise UserError("several machines train together if torchrun or srun starts idn on each of them: use one")


def check_single(trainer: pl.Trainer, where: str, reason: str) -> None:
    """Raise OptionError, with the reason, if a training that one process has to do is given several devices.

    where: such as "beside a discriminator".
    """
    for name, count in (("num_nodes", trainer.num_nodes), ("devices", trainer.num_devices)):
        if count != 1:
            raise OptionError(name, count, f"must be 1 {where}: {reason}", trainer)


def must_start(trainer: pl.Trainer) -> bool:
    """Whether the processes of a run are still to be started: several, and neither torchrun nor srun did it."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally


def run_processes(words: Sequence[str], count: int) -> None:
    """Run `idn` with the same words in `count` processes on this machine, as `torchrun --standalone` does.

    If one of them fails, the others are ended. Raises SystemExit with the status of the first that failed, which has
    said why (see `reason`); UserError if a signal killed it; and SystemExit (130 or 143) if we are stopped, and they
    with us.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes say themselves what is the matter
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(uuid.uuid4()),
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "idn", *words)
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        if status > 0:
            raise SystemExit(status) from error
        raise UserError(
            f"a process of this run was ended by {signal.Signals(-status).name}: if memory was full, take fewer "
            "devices or a smaller batch"
        ) from None
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None


def reason(failed: SystemExit) -> str | None:
    """Why the first of the processes failed that `run_processes` tells of, None if it came to no training."""
    _, first = failed.__cause__.get_first_failure()
    told = first.error_file_data.get("message")
    return told["message"].partition(": ")[2] if isinstance(told, dict) else None  # behind the name of the error


class EndCalmly(pl.Callback):
    """While the run of several processes breaks off, a request to terminate waits until its state is saved.

    Whoever started the processes ends the others as soon as one has failed. Lightning would tell those of the request,
    over a connection that is broken then, within whatever is being written.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """From now on only take note; the trainer puts the earlier handler back when it has ended."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.asked = True


@contextmanager
def one_speaks(trainer: pl.Trainer) -> Iterator[None]:
    """While the trainer runs: of an error that several processes have, the first process alone tells.

    An error of another process alone is told by that one, after a while. Whoever started the processes ends the others
    as soon as one has failed.
    """
    calm = EndCalmly()
    trainer.callbacks.insert(0, calm)
    try:
        yield
    except Exception as error:  # of any kind: it only waits, and goes on
        if calm.asked:
            raise SystemExit(128 + signal.SIGTERM) from error  # another one has failed, and tells
        get_error_handler().record_exception(error)  # for `reason`, if an agent of torchrun has started us
        if trainer.world_size > 1:
            broken = isinstance(error, RuntimeError)  # such as a connection
            time.sleep((PAUSE if broken else 0.0) if trainer.is_global_zero else PATIENCE)
        raise
    if trainer.world_size > 1 and distributed.is_initialized():
        distributed.destroy_process_group()


def mean_of_all(value: Tensor) -> Tensor:
    """The mean of a number over all processes, which call this together; it is finite only if all the numbers are."""
    value = value.detach().clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value
