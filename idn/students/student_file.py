"""Student files: one safetensors format for every architecture, and what a file says of its crops and its encoder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from idn.encoders.description import describe_encoder, same_mark
from idn.errors import EncoderMismatch, FileError, ForeignFile, UserError
from idn.files.tensors import load_strict, read_metadata, read_tensors, write_tensors
from idn.students.protocol import SwapStudent, known_architectures, student_class
from idn.types import LARGEST_CROP, EncoderDescription, IdentityEncoder

STUDENT = "idn.student"
"""Key of the metadata that holds, as JSON, the architecture, its arguments and the encoder that it was built for."""


class StudentFile(NamedTuple):
    """What a student's file says without its weights."""

    path: Path
    architecture: str
    config: dict[str, Any]
    """Arguments of the constructor beside the encoder."""
    encoder: EncoderDescription
    template: str | None
    """Alignment template of the crops that it was trained on; None if the file does not say."""
    size: int | None
    """Of these crops, in pixels."""
    notes: dict[str, str]
    """Everything else: the teacher, licences, metrics."""

    def size_note(self, size: int | None) -> str | None:
        """A sentence on a size of crops that is far from that of the training; None where there is nothing to say."""
        if size is None or self.size is None or 2 / 3 <= size / self.size <= 1.5:
            return None
        return (
            f"size={size}, but the student was trained on {self.size} px, and knows faces of other sizes badly: leave "
            "size out"
        )

    def check_encoder(self, encoder: IdentityEncoder) -> None:
        """Raise EncoderMismatch if `encoder` is not the one whose identities the student learned to read.

        Told apart by name, by the sizes of what it gives and, where the file keeps it, by what it answers.
        """
        self.check_description(describe_encoder(encoder))

    def check_description(self, given: EncoderDescription) -> None:
        """The same for the description of an encoder."""
        wanted = self.encoder
        if wanted.name and wanted.name != given.name:
            fault = f"reads identities of {wanted.name}, not of {given.name}: give the encoder that it was trained with"
        elif wanted[:3] != given[:3]:
            fault = (
                f"reads identities of {_sizes(wanted)}, {given.name} gives {_sizes(given)}: give the encoder it was "
                "trained with"
            )
        elif wanted.mark and not same_mark(wanted, given):
            fault = f"was trained with other weights of {given.name}: give the file of weights that its training read"
        else:
            return
        raise EncoderMismatch(f"{self.path} {fault}", wanted.name, given.name)


def _sizes(encoder: EncoderDescription) -> str:
    dim, channels, side = encoder[:3]
    return f"{dim} numbers and {channels} maps of {side} x {side}"


def describe_student(student: SwapStudent) -> dict[str, Any]:
    """What `build_student` makes the same network of, with other weights; JSON-able."""
    encoder = student.encoder._asdict() | {"mark": list(student.encoder.mark)}
    return {"architecture": student.architecture, "config": student.config, "encoder": encoder}


def build_student(described: Mapping[str, Any]) -> SwapStudent:
    """A student with the weights that its training would start from, on the CPU and in training mode.

    Raises UserError for an architecture that is not known here, and TypeError, KeyError, AttributeError or ValueError
    for a description that does not fit it.
    """
    name = described["architecture"]
    if not isinstance(name, str) or (kind := student_class(name)) is None:
        raise UserError(
            f"the architecture {name} is not known here: install the package that has it, or import its class first; "
            f"known are {', '.join(known_architectures())}"
        )
    encoder = EncoderDescription(**described["encoder"])
    return kind(encoder._replace(mark=tuple(encoder.mark)), **described["config"])


def save_student(student: SwapStudent, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights, description and `metadata` as one file. All of it or nothing.

    metadata: "template" and "size" of the crops, and whatever else is known of the training.
    """
    notes = {**(metadata or {}), STUDENT: json.dumps(describe_student(student))}
    write_tensors(path, student.state_dict(), notes)


def read_student_file(path: str | Path) -> StudentFile:
    """What a file of `save_student` says of itself. Raises UserError if the file is no student, or is damaged."""
    path = Path(path)
    notes = read_metadata(path)
    if STUDENT not in notes:
        raise ForeignFile(path, "is not a student: choose a file written by training or by `idn import`")
    try:
        described = json.loads(notes.pop(STUDENT))
        encoder = EncoderDescription(**described["encoder"])
        name = encoder.name or notes.get("encoder", "")
        size = None if "size" not in notes else int(notes["size"])
        if size is not None and not 1 <= size <= LARGEST_CROP:
            raise ValueError(f"size cannot be {size}")
        return StudentFile(
            path,
            described["architecture"],
            dict(described["config"]),
            encoder._replace(name=name, mark=tuple(encoder.mark)),
            notes.get("template"),
            size,
            notes,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ForeignFile(path, f"does not say everything about its student ({error}): write the file again") from error


def load_student(path: str | Path) -> SwapStudent:
    """The student of a file, on the CPU, in training mode like any new module.

    Raises UserError if the file is no student, its architecture is not known here, or its tensors do not fit what it
    says of itself.
    """
    file = read_student_file(path)
    described = {"architecture": file.architecture, "config": file.config, "encoder": file.encoder._asdict()}
    try:
        with torch.random.fork_rng(devices=[]):
            student = build_student(described)
    except UserError as error:
        raise FileError(path, f"cannot be built: {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ForeignFile(
            path, f"names arguments that no {file.architecture} has ({error}): write the file again"
        ) from error
    load_strict(student, read_tensors(path), str(path))
    return student


def _spoken(architecture: str, config: Mapping[str, Any]) -> str:
    return f"{architecture} ({', '.join(f'{name}={value}' for name, value in config.items())})"


def begin_with(student: SwapStudent, path: str | Path) -> dict[str, str]:
    """Give a new student the weights of a file, to train them further.

    student: built for the encoder that it shall read.
    path: of a student of the same architecture and arguments, trained with the same encoder; other crops may be meant.
    Returns the notes of that file, whose terms bind what becomes of it.
    Raises UserError if the file is no student or another one, and EncoderMismatch for another encoder.
    """
    file = read_student_file(path)
    file.check_description(student.encoder)
    theirs, ours = _spoken(file.architecture, file.config), _spoken(student.architecture, student.config)
    if theirs != ours:
        raise ForeignFile(path, f"holds a {theirs}, and a {ours} shall be trained: choose the same")
    load_strict(student, read_tensors(path), str(path))
    return file.notes


def build_network(name: str, recipe: Mapping[str, Any]) -> nn.Module:
    """A network of a student's deployment with any weights, by the recipe that it was given there.

    Raises UserError for an architecture that is not known here, and LookupError, TypeError, AttributeError or
    ValueError for a recipe that fits none.
    """
    with torch.random.fork_rng(devices=[]):
        deployment = build_student(recipe).eval().deployment()
        if recipe["product"] == "baked":
            return deployment.baked(deployment.anybody(), recipe["size"], recipe["blocks"]).module
        networks = deployment.dynamic(recipe["size"], True, recipe["blocks"])
    return {network.name: network.module for network in networks}[name]
