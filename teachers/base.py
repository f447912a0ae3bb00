"""FrozenTeacher: what every teacher is asked, and the paste that puts its answer back into the student's crop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from idn.errors import EncoderMismatch, OptionError, UserError
from idn.files.digests import weights_digest
from idn.files.option_checks import require_one_of
from idn.frozen import Frozen
from idn.geometry.affine import in_pixels
from idn.geometry.templates import TEMPLATES, between_templates
from idn.geometry.warping import paste
from idn.images import denormalize, resize
from idn.types import IdentityEncoder, IdentityFeatures, RunInput, SwapBatch
from teachers.record import TeacherRecord


class PairData(Protocol):
    """What a teacher needs to know of a run's data; idn.data.loaders.SwapData is such."""

    train: Dataset
    """Items are batches of pairs, as pure functions of their index; without end."""
    val: Dataset
    """The same of held-out people."""
    val_items: int
    """How many items of `val` the run presents."""
    batch_size: int | None
    """How many items the run joins into a batch; None where each is one."""
    collate: Callable[[list[SwapBatch]], SwapBatch] | None
    """Joins them."""

    def with_pairs(self, train: Dataset, val: Dataset) -> Self:
        """The same with other data sets; this one stays as it is."""
        ...


Data = TypeVar("Data", bound=PairData)


class FrozenTeacher(Frozen, ABC):
    """A swapper that never learns: cuts what it wants to see, swaps, and pastes the answer into the student's crop.

    record: what it declares.
    crop_template: template of the crops given; None only if the record's templates are all None.
    encoder: the recogniser that it brings, for the source kind "own_embedding" and for nothing else.
    Subclasses write `swap`, and call `freeze()` at the end of `__init__`. Nothing it returns carries a gradient.
    """

    def __init__(
        self, record: TeacherRecord, crop_template: str | None, encoder: IdentityEncoder | None = None
    ) -> None:
        super().__init__()
        if crop_template is not None:
            require_one_of("crop_template", crop_template, TEMPLATES)
        crop = record.source.crop
        if crop_template is None and (record.target.template or (crop and crop.template)):
            raise OptionError("crop_template", None, f"must name the template of the crops: {record.name} has its own")
        if (record.source.kind == "own_embedding") != (encoder is not None):
            has = "is missing" if encoder is None else "is one too many"
            raise UserError(f"teacher {record.name} takes identities from {record.source.kind}: its own encoder {has}")
        self.record = record
        self.crop_template = crop_template
        self.encoder = encoder
        if encoder is not None:
            self._check_encoder(encoder, "its own encoder")

    def origin(self) -> list[RunInput]:
        """Where its answers come from, for a run that notes what it was made from: here its own weights."""
        return [RunInput("teacher", self.record.name, {"weights_sha256": weights_digest(self)})]

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
        seen = source
        if self.encoder is not None:
            seen = self.encoder(batch.sources).repeated(batch.targets_per_identity)
        if self.record.source.unit_length:
            return seen.embedding
        if seen.length is None:
            raise UserError(f"teacher {self.record.name} needs embeddings with their length: choose an iresnet encoder")
        return seen.embedding * seen.length[:, None]

    def _check_encoder(self, encoder: IdentityEncoder, what: str) -> None:
        spec = self.record.source
        if encoder.name != spec.encoder or encoder.embedding_dim != spec.dim:
            raise EncoderMismatch(
                f"teacher {self.record.name} was trained with embeddings of {spec.encoder} ({spec.dim} numbers), "
                f"{what} is {encoder.name} ({encoder.embedding_dim} numbers): choose the matching one",
                wanted=spec.encoder,
                given=encoder.name,
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

        batch: N pairs of (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`.
        source: what the shared encoder saw in them.
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
            raise EncoderMismatch(
                f"teacher {self.record.name} wants embeddings of {spec.encoder} with {spec.dim} numbers, the identity "
                f"encoder gives {source.embedding.shape[-1]}: choose the matching identity encoder",
                wanted=spec.encoder,
                given=f"{source.embedding.shape[-1]} numbers",
            )

    def _paste(self, images: Tensor, target: Tensor) -> Tensor:
        size, template = target.shape[-1], self.record.target.template
        if template in (None, self.crop_template):
            return resize(images, size)
        cut = between_templates(self.crop_template, template)  # its own inverse is not the fit the other way round
        return paste(target, images, in_pixels(cut, size, images.shape[-1]))


def pick(batch: SwapBatch, source: IdentityFeatures, rows: slice | Tensor) -> tuple[SwapBatch, IdentityFeatures]:
    """Some of the pairs: a slice, or a tensor of their numbers."""
    shallow = tuple(level[rows] for level in source.shallow)
    length = None if source.length is None else source.length[rows]
    return batch.take(rows), IdentityFeatures(source.embedding[rows], source.features[rows], shallow, length)
