"""Checkpoints: what one holds, and writing it whole (atomic write)."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn, save

from idn.files.atomic import atomic_write


def leave_out(checkpoint: MutableMapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Take the tensors whose names begin so out of what will be saved, as those of frozen networks."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith(prefixes)}


def refill(checkpoint: MutableMapping[str, Any], module: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Give what was left out the values that `module` has now, so that all the rest still loads strictly."""
    checkpoint["state_dict"] |= {k: v for k, v in module.state_dict().items() if k.startswith(prefixes)}


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint of a trainer, whoever asks for it, all or not at all.

    A kill or a full disk leaves the earlier file. Lightning's own way moves a finished file from the folder for
    temporary ones, which is a copy, and can be cut short, where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """See `CheckpointIO.save_checkpoint`."""
        with atomic_write(Path(path)) as draft:
            save(checkpoint, draft)


def save_alone(trainer: pl.Trainer, path: Path) -> None:
    """Save where only some processes of a run may come by: the first of them saves, without waiting for others."""
    if trainer.is_global_zero:
        trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), path)
