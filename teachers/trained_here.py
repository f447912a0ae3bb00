"""A teacher that was trained here: everything it needs to be told stands in its file."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from idn.errors import FileError, ForeignFile, UserError
from idn.files.tensors import read_metadata, read_tensors
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.trainable import rebuild
from teachers.weight_files import load_network, recognise

_NOTES = ("family", "config", "size", "template", "encoder", "encoder_dim", "encoder_licence", "licence", "steps")
"""What the metadata of such a file must say."""
_MAKE = "use a file that `idn train-teacher` wrote"


class TrainedHereTeacher(FrozenTeacher):
    """A swapper of `idn train-teacher`: its teacher.safetensors, or one of its snapshots.

    weights: the file. crop_template: template of the crops given. It reads the embeddings of the encoder that serves
    the student, which must be the one that it was trained with.
    Raises UserError if the file is missing or damaged, if it holds something else, which is named where it is known,
    and if its tensors are not those of the network that it describes.
    """

    def __init__(self, weights: str | Path, crop_template: str) -> None:
        notes = _notes(Path(weights))
        super().__init__(_record(notes, weights), crop_template)
        try:
            self.net = rebuild(notes["family"], notes["config"])
            self.net.check_size(self.record.target.size)
        except UserError as error:
            raise FileError(weights, f"cannot be used ({error}): {_MAKE}") from error
        load_network(self.net.net, read_tensors(weights), weights, self.record.name)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, s, s) RGB in [0, 1]. Returns (N, 3, s, s) RGB in [0, 1]."""
        return self.net.swap(target, self.identity(batch, source))[0]


def _notes(path: Path) -> dict[str, str]:
    """The metadata of a file of ours. Raises UserError that says what another file holds."""
    notes = read_metadata(path)
    missing = [name for name in _NOTES if name not in notes]
    if not missing:
        return notes
    found = recognise(read_tensors(path)) if len(missing) == len(_NOTES) else None
    if found:
        raise ForeignFile(
            path,
            f"holds {found}, not a swapper that was trained here: {_MAKE}, or the teacher that reads such files",
            found,
        )
    raise ForeignFile(path, f"does not say what it is (its metadata lacks {', '.join(missing)}): {_MAKE}, unchanged")


def _record(notes: Mapping[str, str], weights: str | Path) -> TeacherRecord:
    try:
        size, dim, steps = (int(notes[name]) for name in ("size", "encoder_dim", "steps"))
    except ValueError as error:
        raise FileError(weights, f"has a number in its metadata that is none ({error}): {_MAKE}") from error
    return TeacherRecord(
        name=f"own {notes['family']}",
        variant=f"{steps} steps",
        licence=f"{notes['licence']} (its identity encoder: {notes['encoder_licence']})",
        commercial=None,
        target=FaceInput(size, notes["template"]),
        source=SourceInput("shared_embedding", encoder=notes["encoder"], dim=dim),
    )
