"""`idn` in a process of its own that kills itself with SIGKILL at a moment that is given beforehand."""

import io
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

PRELOAD = ["idn.cli.trainings", "idn.training.build", "idn.training.fit", "idn.training.record", "torchvision"]
"""What such a process would import for seconds; a fork server has it."""


def run_idn(folder: Path, words: list[str], killed: str | None) -> None:
    """Be `idn` with these words, in a folder where all that is said goes into `said.txt`. killed: see `arm`."""
    os.chdir(folder)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.argv = ["idn", *words]
    if killed is not None:
        arm(killed)
    from idn import cli

    cli.main()


def arm(killed: str) -> None:
    """Prepare the end.

    killed: "step N S", S seconds after the N-th step has begun; "validation N -", when N batches were validated;
    "checkpoint N F", when the share F of the N-th checkpoint is on the disk; "rename N before" or "rename N after",
    just before or after the N-th file gets its final name.
    """
    from idn.training import checkpoint_io
    from idn.training.modules.swap_training import SwapTraining

    kind, number, when = killed.split()
    owner, name = {
        "step": (SwapTraining, "training_step"),
        "validation": (SwapTraining, "validation_step"),
        "checkpoint": (checkpoint_io, "save"),
        "rename": (Path, "replace"),
    }[kind]
    usual, calls = getattr(owner, name), [0]

    def watched(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] != int(number):
            return usual(*given)
        if kind == "step":
            threading.Timer(float(when), die).start()
        elif kind == "checkpoint":
            half_write(given[0], given[1], float(when))
        elif when == "before":
            die()
        done = usual(*given)
        if kind != "step":
            die()
        return done

    setattr(owner, name, watched)


def half_write(checkpoint: Any, file: Any, share: float) -> None:
    import torch

    whole = io.BytesIO()
    torch.save(checkpoint, whole)
    file.write(whole.getvalue()[: int(share * len(whole.getvalue()))])
    file.flush()
    die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
