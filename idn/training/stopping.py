"""Stopping a run: after Ctrl-C (SIGINT) or a request to terminate (SIGTERM) it says how to go on; status 130 or 143."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from idn.errors import TornStep
from idn.training.callbacks.save_checkpoints import SaveLast, SaveOnError


class _CtrlC:
    """Handler of SIGINT: the first one lets the step that it falls into come to its end, a second one does not.

    Without it, BatchNorm statistics of half a step would be saved with the weights of the step before. Of several
    processes each stops at once, because none knows in which step the others are.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer, self.process, self.pressed = trainer, os.getpid(), False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Do as for SIGTERM, which the trainer looks for after every batch, once the trainer does."""
        unseen = signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN, None)
        if unseen or os.getpid() != self.process or self.trainer.world_size > 1:
            raise KeyboardInterrupt
        if self.pressed:
            raise TornStep
        self.pressed = True
        signal.raise_signal(signal.SIGTERM)


@contextmanager
def stoppable(trainer: pl.Trainer) -> Iterator[None]:
    """While the trainer works, a signal that ends it ends the program, with the status by which shells know the signal.

    The step that a signal falls into comes to its end, unless Ctrl-C is pressed again. Raises SystemExit with 128 + the
    number of the signal; the callbacks of the trainer have saved by then. Afterwards signals are handled as before,
    which the trainer sees to itself unless a callback fails because of an error.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ctrl_c = _CtrlC(trainer)
    if threading.current_thread() is threading.main_thread() and before[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, ctrl_c)
    try:
        yield
    except BaseException as error:  # a signal can show as any of them, an exit included; others go on
        number = signal.SIGINT if ctrl_c.pressed else _signal(trainer, error)
        if number is None:
            raise
        if trainer.is_global_zero:
            print(_advice(trainer), file=sys.stderr)
        raise SystemExit(128 + number) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # None is one that was not set by Python
                    signal.signal(number, handler)


def _signal(trainer: pl.Trainer, error: BaseException) -> int | None:
    """The signal behind an error, if any. A scheduler sends it to loader processes as well, which then fail."""
    if isinstance(error, SIGTERMException) or trainer.received_sigterm:
        return signal.SIGTERM
    interrupted = isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
    )
    return signal.SIGINT if interrupted else None


def _advice(trainer: pl.Trainer) -> str:
    """What to do next: the newest checkpoint that the callbacks of the trainer have kept."""
    keepers = [one for one in trainer.callbacks if isinstance(one, SaveLast | SaveOnError)]
    saved = [one.path for one in keepers if one.path.is_file()]
    newest: Path | None = max(saved, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return f"stopped at step {trainer.global_step}, nothing is saved: the same command begins again"
    return f"stopped at step {trainer.global_step}: the same command with resume={newest} goes on"
