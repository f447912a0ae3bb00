"""Checkpoints: what one holds, and writing it whole (atomic write)."""

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn, save

from idn.encoders.description import describe_encoder, same_mark
from idn.errors import EncoderMismatch, OptionError
from idn.files.atomic import atomic_write
from idn.types import EncoderDescription, IdentityEncoder

_ENCODER = "encoder"
"""Key of a checkpoint that holds name and mark of the identity encoder that is trained with."""
_TEMPLATE = "template"
"""Key of a checkpoint that holds the alignment template of its crops."""


def leave_out(checkpoint: MutableMapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Take the tensors whose names begin so out of what will be saved, as those of frozen networks."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {key: value for key, value in state.items() if not key.startswith(prefixes)}


def refill(checkpoint: MutableMapping[str, Any], module: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Give what was left out the values that `module` has now, so that all the rest still loads strictly."""
    checkpoint["state_dict"] |= {k: v for k, v in module.state_dict().items() if k.startswith(prefixes)}


def note_encoder(checkpoint: MutableMapping[str, Any], encoder: IdentityEncoder) -> None:
    """Write down which identity encoder it is, whose weights are left out."""
    known = describe_encoder(encoder)
    checkpoint[_ENCODER] = {"name": known.name, "mark": list(known.mark)}


def check_encoder(checkpoint: Mapping[str, Any], encoder: IdentityEncoder) -> None:
    """Raise EncoderMismatch if a checkpoint was trained with another identity encoder, or with other weights of it.

    Of equal sizes, it would load, and what the network has learned to read would mean something else.
    """
    if _ENCODER not in checkpoint:
        return
    given, noted = describe_encoder(encoder), checkpoint[_ENCODER]
    wanted = EncoderDescription(*given[:3], noted["name"], tuple(noted["mark"]))
    if wanted.name != given.name or not same_mark(wanted, given):
        weights = "other weights of " if wanted.name == given.name else ""
        raise EncoderMismatch(
            f"the run to go on with was trained with {weights}the identity encoder {wanted.name}, this one would go on "
            f"with {given.name}: give the encoder of that run and its file of weights, or begin anew without resume",
            wanted=wanted.name,
            given=given.name,
        )


def note_template(checkpoint: MutableMapping[str, Any], template: str | None) -> None:
    """Write down how the crops are aligned that it was trained on; None: nobody said."""
    checkpoint[_TEMPLATE] = template


def check_template(checkpoint: Mapping[str, Any], template: str | None) -> None:
    """Raise OptionError if a checkpoint was trained on crops of another template; another size may be meant."""
    wanted = checkpoint.get(_TEMPLATE)
    if None not in (wanted, template) and wanted != template:
        raise OptionError("template", template, f"is not that of the run to go on with, {wanted}: give the same crops")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint of a trainer, whoever asks for it, all or not at all.

    A kill or a full disk leaves the earlier file. Lightning's own way moves a finished file from the folder for
    temporary ones, which is a copy, and can be cut short, where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """See `CheckpointIO.save_checkpoint`. Raises OSError as the disk does, such as one that is full."""
        with atomic_write(Path(path)) as draft, draft.open("wb") as file:
            try:
                save(checkpoint, file)
            except RuntimeError as error:  # of PyTorch's writer, which says no word of the disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def save_alone(trainer: pl.Trainer, path: Path) -> None:
    """Save where only some processes of a run may come by: the first of them saves, without waiting for others."""
    if trainer.is_global_zero:
        trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), path)
