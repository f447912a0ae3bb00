"""What every teacher declares about itself, and the frame that puts its answer back into the student's crop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from idn.errors import UserError
from idn.frozen import Frozen
from idn.geometry import TEMPLATES, between_templates, in_pixels, invert_affine, paste, realign
from idn.images import denormalize, normalize, resize
from idn.types import IdentityEncoder, IdentityFeatures, SwapBatch, goes_by

Border = Literal["zeros", "border", "reflection"]
SourceKind = Literal["nothing", "shared_embedding", "own_embedding", "image"]
Channels = tuple[float, float, float]


class PairData(Protocol):
    """What a teacher needs to know of a run's data; idn.data.loaders.SwapData is such."""

    train: Dataset
    """Items are batches or samples of pairs, as pure functions of their index; without end."""
    val: Dataset
    """The same of held-out people."""
    val_items: int
    """How many items of `val` the run presents."""
    batch_size: int | None
    """How many samples the run joins into a batch; None where items are batches."""
    collate: Callable[[list[SwapBatch]], SwapBatch] | None
    """Joins them."""

    def with_pairs(self, train: Dataset, val: Dataset) -> Self:
        """The same with other data sets; this one stays as it is."""
        ...


Data = TypeVar("Data", bound=PairData)


@dataclass(frozen=True)
class FaceInput:
    """How a network wants to see a face: framing, size and numbers.

    size: pixels of its square input, or None for the size of the crops it is given.
    template: alignment template of its crops (idn.geometry.TEMPLATES), or None for that of the crops it is given.
    mean, std: it wants (x - mean) / std per channel of an RGB image in [0, 1].
    border: what fills the part of its frame that the given crop does not show.
    Raises UserError for a value that cannot be.
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
            raise UserError(f"std={self.std} must be positive: give the standard deviation of each channel")
        if self.size is not None and self.size < 1:
            raise UserError(f"size={self.size} must be a number of pixels, or null for the size of the crops")
        _choice("border", self.border, get_args(Border))
        if self.template is not None:
            _choice("template", self.template, tuple(sorted(TEMPLATES)))

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
    Raises UserError when kind and the rest do not fit.
    """

    kind: SourceKind
    crop: FaceInput | None = None
    encoder: str | None = None
    dim: int | None = None
    unit_length: bool = True

    def __post_init__(self) -> None:
        """Refuse combinations that mean nothing."""
        _choice("source.kind", self.kind, get_args(SourceKind))
        if (self.kind == "image") != (self.crop is not None):
            raise UserError(f"source.crop must be given for source.kind image and for nothing else: it is {self.kind}")
        if (self.kind in ("shared_embedding", "own_embedding")) != (self.dim is not None):
            raise UserError(f"source.dim must be given for an embedding and for nothing else: kind is {self.kind}")
        if self.dim is not None and not self.encoder:
            raise UserError("source.encoder is missing: name the recogniser whose embedding the teacher expects")


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
    Raises UserError for a value that cannot be.
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
            if not getattr(self, name):
                raise UserError(f"{name} of the teacher is missing: state it, so that what it teaches can be traced")
        if self.commercial not in (True, False, None):
            raise UserError(f"commercial={self.commercial} must be true, false, or null if nobody knows")
        for name in ("output_mean", "output_std"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))
        digest = self.sha256
        if digest is not None and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
            raise UserError(f"sha256={digest} must be 64 lower-case hexadecimal digits")


class FrozenTeacher(Frozen, ABC):
    """A swapper that never learns: cuts what it wants to see, swaps, and pastes the answer into the student's crop.

    record: what it declares. crop_template: template of the crops given; None only if the record's templates are all None.
    encoder: the recogniser that it brings, for the source kind "own_embedding" and for nothing else.
    Subclasses write `swap`, and call `freeze()` at the end of `__init__`. Nothing it returns carries a gradient.
    """

    def __init__(
        self, record: TeacherRecord, crop_template: str | None, encoder: IdentityEncoder | None = None
    ) -> None:
        super().__init__()
        if crop_template is not None:
            _choice("crop_template", crop_template, tuple(sorted(TEMPLATES)))
        crop = record.source.crop
        if crop_template is None and (record.target.template or (crop and crop.template)):
            raise UserError(
                f"teacher {record.name} needs crop_template: name the template that the crops are aligned with"
            )
        if (record.source.kind == "own_embedding") != (encoder is not None):
            raise UserError(f"teacher {record.name}: an encoder of its own and source.kind={record.source.kind} differ")
        self.record = record
        self.crop_template = crop_template
        self.encoder = encoder
        if encoder is not None:
            self._check_encoder(encoder, "teacher.encoder")

    def attach(self, data: Data, encoder: IdentityEncoder, scorer: nn.Module | None = None) -> Data:
        """Meet what a run has beside the teacher, once, before the first pair.

        data: of the run.
        encoder: the recogniser that serves the student.
        scorer: the quality scorer that tells how far to trust the answers, None if nobody asks one.
        Returns the data that this teacher wants to be given, made from the one of the run: here that itself.
        Raises UserError if the teacher reads the encoder's embeddings but was trained with those of another recogniser.
        """
        if self.record.source.kind == "shared_embedding":
            self._check_encoder(encoder, "the identity encoder")
        return data

    def tally(self) -> Mapping[str, int]:
        """How many pairs each of its parts has answered so far, by name: nothing, unless it has parts that share the
        work."""
        return {}

    def identity(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """(N, dim) embeddings of the sources, of unit length or not, as the record declares.

        They come from the teacher's own recogniser, or out of `source` without another pass. Raises UserError if
        the length is wanted and the encoder does not tell it.
        """
        seen = source if self.encoder is None else self.encoder(batch.source)
        if self.record.source.unit_length:
            return seen.embedding
        if seen.length is None:
            raise UserError(f"teacher {self.record.name} needs embeddings with their length: choose an iresnet encoder")
        return seen.embedding * seen.length[:, None]

    def _check_encoder(self, encoder: IdentityEncoder, what: str) -> None:
        spec = self.record.source
        if not goes_by(encoder, spec.encoder) or encoder.embedding_dim != spec.dim:
            raise UserError(
                f"teacher {self.record.name} was trained with embeddings of {spec.encoder} ({spec.dim} numbers), "
                f"{what} is {encoder.name} ({encoder.embedding_dim} numbers): choose the matching one"
            )

    @abstractmethod
    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return (N, 3, s, s), in the numbers that the record's output_mean and output_std decode.

        target: (N, 3, s, s), cut and normalised as the record says; s is its size. batch, source: as in `forward`;
        `source_crop` cuts the sources for a teacher that looks at them itself.
        """

    def source_crop(self, batch: SwapBatch) -> Tensor:
        """The sources as the teacher's network wants them, normalised. For the kind "image" only."""
        crop = self.record.source.crop
        if crop is None:
            raise ValueError(f"teacher {self.record.name} declares no crop of the source")
        return crop.cut(batch.source, self.crop_template)

    @torch.no_grad()
    def forward(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """The swap of every pair, seen in the student's crop.

        batch: N pairs of (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. source: what the shared encoder saw in them.
        Returns (N, 3, S, S) RGB in [0, 1]; outside the teacher's own frame it is the target. Without resampling if
        size and template are those of the crops. Raises UserError if the embedding has another length than declared.
        """
        return self._paste(self.answer(batch, source).to(batch.target.dtype).clamp(0, 1), batch.target)

    @torch.no_grad()
    def answer(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """The swap as the network gave it: (N, 3, s, s) in its own framing and size, RGB in [0, 1] but not clamped.

        Raises as `forward` does.
        """
        self._check(batch, source)
        target = self.record.target.cut(batch.target, self.crop_template)
        answer = self._swap_in_precision(target, batch, source)
        if answer.shape != target.shape:
            raise ValueError(f"swap: expected {tuple(target.shape)}, got {tuple(answer.shape)}")
        return denormalize(answer.to(target.dtype), self.record.output_mean, self.record.output_std)

    def _swap_in_precision(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        device = target.device.type
        lower = torch.is_autocast_enabled(device) and not self.record.full_precision
        with torch.autocast(device, enabled=lower):
            if self.record.batchable:
                return self.swap(target, batch, source)
            return torch.cat(
                [self.swap(target[i : i + 1], *pick(batch, source, slice(i, i + 1))) for i in range(len(target))]
            )

    def _check(self, batch: SwapBatch, source: IdentityFeatures) -> None:
        n, channels, height, width = batch.target.shape
        if channels != 3 or height != width or batch.source.shape != batch.target.shape:
            raise ValueError(
                f"batch: expected source and target (N, 3, S, S), got {tuple(batch.source.shape)} and "
                f"{tuple(batch.target.shape)}"
            )
        spec = self.record.source
        if spec.kind == "shared_embedding" and source.embedding.shape != (n, spec.dim):
            raise UserError(
                f"teacher {self.record.name} wants embeddings of {spec.encoder} with {spec.dim} numbers, the identity "
                f"encoder gives {source.embedding.shape[-1]}: choose the matching identity encoder"
            )

    def _paste(self, images: Tensor, target: Tensor) -> Tensor:
        size, template = target.shape[-1], self.record.target.template
        if template in (None, self.crop_template):
            return resize(images, size)
        matrix = invert_affine(between_templates(template, self.crop_template))
        return paste(target, images, in_pixels(matrix, size, images.shape[-1]))


def _realign(images: Tensor, crop_template: str | None, wanted: str | None, size: int, border: Border) -> Tensor:
    """`geometry.realign` where None stands for the other name."""
    return (
        resize(images, size)
        if None in (crop_template, wanted)
        else realign(images, crop_template, wanted, size, border)
    )


def pick(batch: SwapBatch, source: IdentityFeatures, rows: slice | Tensor) -> tuple[SwapBatch, IdentityFeatures]:
    """Some of the pairs: a slice, or a tensor of their numbers."""
    shallow = tuple(level[rows] for level in source.shallow)
    length = None if source.length is None else source.length[rows]
    return batch.take(rows), IdentityFeatures(source.embedding[rows], source.features[rows], shallow, length)


def _channels(name: str, values: Channels) -> Channels:
    if len(values) != 3:
        raise UserError(f"{name} must have one number per colour channel, three in all: got {list(values)}")
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name}={value} is unknown: choose one of {', '.join(allowed)}")
