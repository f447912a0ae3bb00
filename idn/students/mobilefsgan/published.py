"""Saved generators of the published MobileFSGAN (github.com/HoiM/MobileFSGAN), as students.

Its training saves every generator as a state dict, each key behind the `module.` of a data-parallel wrapper. Weights
were never published, so a file is somebody's own.
"""

from pathlib import Path

from idn.encoders.mobilefacenet_512 import NAME
from idn.errors import UnfitTensors
from idn.files.tensors import load_strict, read_tensors, strip_prefix
from idn.students.mobilefsgan.student import Student
from idn.students.published_file import import_published
from idn.types import EncoderDescription

HEAD, LINEAR = "encoder_head.conv_image.weight", "identity_encoder.b8_down.fc_mean.weight"
"""Two tensors of every generator: their shapes tell its width and the length of the embedding."""

LINEAGE = {"encoder": NAME, "encoder_licence": "MIT", "template": "mobilefsgan", "size": "256"}
"""What the published training feeds its generator."""


def holds(path: str | Path) -> bool:
    """Whether a file of tensors has the head of such a generator. Raises UserError if it is no file of tensors."""
    return any(key.endswith(HEAD) for key in read_tensors(path))


def import_generator(path: str | Path) -> Student:
    """Read a saved generator of any width as a student in training mode.

    Raises UserError if the file cannot be read or does not hold exactly such a network.
    """
    tensors = strip_prefix(read_tensors(path), (HEAD,))
    shapes = {key: tuple(tensors[key].shape) for key in (HEAD, LINEAR) if key in tensors}
    if list(map(len, shapes.values())) != [4, 2]:
        said = f"{path} holds no whole generator of MobileFSGAN: give a file NUMBER_G.pth of its training"
        raise UnfitTensors(said, missing=[key for key in (HEAD, LINEAR) if key not in shapes])
    student = Student(EncoderDescription(shapes[LINEAR][1], 512, 7, NAME), width=shapes[HEAD][0])
    load_strict(student, tensors, str(path))
    return student


def import_student(published: str | Path, out: str | Path) -> None:
    """Write a saved generator as the student file `out`, with its origin and the crops that it was trained on.

    Raises OptionError unless `out` ends in .safetensors, UserError as `import_generator`.
    """
    import_published(published, out, import_generator, LINEAGE)
