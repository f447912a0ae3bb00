"""What a checkpoint holds, and writing one."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from idn.files.atomic import atomic_write


def leave_out(checkpoint: MutableMapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Take the tensors whose names begin so out of what will be saved, as those of frozen networks."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith(prefixes)}


def refill(checkpoint: MutableMapping[str, Any], module: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Give what was left out the values that `module` has now, so that all the rest still loads strictly."""
    checkpoint["state_dict"] |= {k: v for k, v in module.state_dict().items() if k.startswith(prefixes)}


def save_checkpoint(trainer: pl.Trainer, path: Path) -> None:
    """Save the state of a run, all of it or nothing: a kill or a full disk leaves the earlier file.

    All processes of a run call it together.
    """
    if trainer.is_global_zero:
        with atomic_write(path) as draft:
            trainer.save_checkpoint(draft)
    else:
        trainer.save_checkpoint(path)


def save_alone(trainer: pl.Trainer, path: Path) -> None:
    """The same where only some processes of a run may come by: the first of them saves, without waiting for others."""
    if trainer.is_global_zero:
        with atomic_write(path) as draft:
            trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), draft)
