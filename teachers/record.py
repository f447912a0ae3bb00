"""Teacher records: how a network wants to see faces, where its identity comes from, and its terms of use."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from idn.errors import OptionError
from idn.files.option_checks import require_int, require_one_of
from idn.geometry.templates import TEMPLATES
from idn.geometry.warping import realign
from idn.images import normalize, resize

Border = Literal["zeros", "border", "reflection"]
SourceKind = Literal["nothing", "shared_embedding", "own_embedding", "image"]
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class FaceInput:
    """How a network wants to see a face: framing, size and numbers.

    size: pixels of its square input, or None for the size of the crops it is given.
    template: alignment template of its crops (see idn.geometry.templates), or None for that of the given crops.
    mean, std: it wants (x - mean) / std per channel of an RGB image in [0, 1].
    border: what fills the part of its crop that the given one does not show.
    Raises OptionError for a value that cannot be.
    """

    size: int | None = None
    template: str | None = None
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    border: Border = "border"

    def __post_init__(self) -> None:
        """Turn the lists of a config into tuples and refuse impossible values."""
        for name in ("mean", "std"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))
        if min(self.std) <= 0:
            raise OptionError("std", self.std, "must be positive: give the standard deviation of each channel")
        if self.size is not None:
            require_int("size", self.size, 1)
        require_one_of("border", self.border, get_args(Border))
        if self.template is not None:
            require_one_of("template", self.template, TEMPLATES)

    def cut(self, images: Tensor, crop_template: str | None) -> Tensor:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. Returns (N, 3, size, size), normalised."""
        size = self.size or images.shape[-1]
        return normalize(_realign(images, crop_template, self.template, size, self.border), self.mean, self.std)


@dataclass(frozen=True)
class SourceInput:
    """Where a teacher takes the identity from.

    kind: "nothing" (it knows the answer otherwise), "shared_embedding" (of the encoder that serves the student),
    "own_embedding" (of a recogniser that the teacher brings) or "image" (the picture itself).
    crop: how its network sees the source; for an image only.
    encoder: name of the recogniser that it was trained with, and dim: length of that embedding; for the embeddings.
    unit_length: whether the embedding is L2-normalised before it enters the network; if not, it keeps its own length.
    Raises OptionError when kind and the rest do not fit.
    """

    kind: SourceKind
    crop: FaceInput | None = None
    encoder: str | None = None
    dim: int | None = None
    unit_length: bool = True

    def __post_init__(self) -> None:
        """Refuse combinations that mean nothing."""
        require_one_of("kind", self.kind, get_args(SourceKind))
        if (self.kind == "image") != (self.crop is not None):
            raise OptionError("kind", self.kind, "does not fit: crop is to be given for an image and for nothing else")
        if (self.kind in ("shared_embedding", "own_embedding")) != (self.dim is not None):
            raise OptionError("kind", self.kind, "does not fit: dim is to be given for an embedding and nothing else")
        if self.dim is not None:
            require_int("dim", self.dim, 1)
            if not self.encoder:
                raise OptionError("encoder", self.encoder, "must name the recogniser whose embedding is expected")


@dataclass(frozen=True)
class TeacherRecord:
    """Everything a teacher declares: its inputs, its output, its file and its terms of use.

    name, variant: family, and which of its models (trained differently, so that they read the same numbers otherwise).
    licence: of the weights, as their publisher words it; commercial: whether it allows commercial use, None if unknown.
    target: how it sees the target; its answer has the same framing and size. source: see SourceInput.
    output_mean, output_std: its answer becomes RGB in [0, 1] as x * std + mean.
    returns_mask: a second output, (N, 1, size, size), follows the image, into which it is already composited.
    batchable: False if it takes one face at a time.
    full_precision: True if it must not run in the lower precision that a trainer may choose.
    sha256, file_bytes: of the file that holds it, None if no single file is meant.
    Raises OptionError for a value that cannot be.
    """

    name: str
    licence: str
    commercial: bool | None
    target: FaceInput
    source: SourceInput
    variant: str = ""
    output_mean: Channels = (0.0, 0.0, 0.0)
    output_std: Channels = (1.0, 1.0, 1.0)
    returns_mask: bool = False
    batchable: bool = True
    full_precision: bool = False
    sha256: str | None = None
    file_bytes: int | None = None

    def __post_init__(self) -> None:
        """Turn the lists of a config into tuples and refuse impossible values."""
        for name in ("name", "licence"):
            if not isinstance(value := getattr(self, name), str) or not value:
                raise OptionError(name, value, "must be stated, so that what the teacher teaches can be traced")
        if not isinstance(self.commercial, bool | None):
            raise OptionError("commercial", self.commercial, "must be true, false, or null if nobody knows")
        for name in ("output_mean", "output_std"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))
        if self.sha256 is not None and re.fullmatch("[0-9a-f]{64}", str(self.sha256)) is None:
            raise OptionError("sha256", self.sha256, "must be 64 lower-case hexadecimal digits")


def _realign(images: Tensor, crop_template: str | None, wanted: str | None, size: int, border: Border) -> Tensor:
    """`geometry.realign` where None stands for the other name."""
    return (
        resize(images, size)
        if None in (crop_template, wanted)
        else realign(images, crop_template, wanted, size, border)
    )


def _channels(name: str, values: Channels) -> Channels:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise OptionError(name, values, "must be one number per colour channel, three in all") from error
    return red, green, blue
