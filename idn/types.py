"""The values that travel between data, networks, teachers and losses. Images are RGB in [0, 1], (N, 3, H, W)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

LARGEST_CROP = 8192
"""Pixels a side that no crop of a face has more of: a file that says so is damaged."""


class Kept:
    """Room for what frozen networks say of a batch that is shown again. Copies of the batch share it."""

    def __init__(self) -> None:
        self.said: Any = None


class SwapBatch(NamedTuple):
    """N source-target pairs and what is known about them. S is the crop size; every image has the same framing."""

    source: Tensor
    """(N, 3, S, S): gives the identity."""
    target: Tensor
    """(N, 3, S, S): gives everything else."""
    face: Tensor
    """(N, 1, S, S) in [0, 1]: 1 where the swap may change the target, 0 on the background it must keep."""
    same: Tensor
    """(N,) bool: source and target show the same person."""
    truth: Tensor | None = None
    """(N, 3, S, S): the exact swap, where the data can know it; the target in rows that `truth_known` leaves out."""
    source_identity: Tensor | None = None
    """(N, I): identity parameters of the source, for data made by the procedural renderer."""
    target_attributes: Tensor | None = None
    """(N, A): attribute parameters of the target, for data made by the procedural renderer."""
    cached_answer: Tensor | None = None
    """(N, 3, S, S): what a teacher answered to this pair earlier, where that was kept."""
    cached_cosine: Tensor | None = None
    """(N,): cosine of the identities of `cached_answer` and the source, by the encoder that serves the student."""
    cached_quality: Tensor | None = None
    """(N,) in [0, 1]: what the quality scorer said of `cached_answer`, where one was asked."""
    landmarks: Tensor | None = None
    """(N, 5, 2) in normalised coordinates: eyes, nose tip and mouth corners of the exact swap, or of the target where
    the data do not know that. NaN for pairs of which nobody knows them, None where that is so of all of them."""
    truth_known: Tensor | None = None
    """(N,) bool: rows whose `truth` is the exact swap. The others are never compared with it. None: all, where there is
    a truth."""
    source_is_photograph: Tensor | None = None
    """(N,) bool: rows in which a discriminator is shown the source as the real picture, because the target was edited;
    the target in the others. None: nobody says."""
    targets_per_identity: int = 1
    """k: rows m * k to m * k + k - 1 show one picture as their source, so that whatever asks who that is asks once."""
    kept: Kept | None = None
    """What was said of these pairs when they were shown before; None for a batch that is shown once."""

    @property
    def sources(self) -> Tensor:
        """(N / k, 3, S, S): every source once, k being `targets_per_identity`."""
        return self.source[:: self.targets_per_identity]

    @property
    def exact(self) -> Tensor:
        """(N,) bool: rows whose exact swap is known, which is `truth`."""
        if self.truth is None:
            return torch.zeros_like(self.same)
        return torch.ones_like(self.same) if self.truth_known is None else self.truth_known

    def to(self, device: torch.device | str) -> "SwapBatch":
        """The same pairs on another device. Lightning moves them by this, too.

        Copies to a CUDA device are queued there, and nothing waits for them.
        """
        queued = torch.device(device).type == "cuda"
        return self._each(lambda field: field.to(device, non_blocking=queued))

    def take(self, rows: int | slice | Tensor) -> "SwapBatch":
        """Some of the pairs: a slice or a tensor of their numbers, or one of them without its batch dimension.

        Each of them counts as a pair with a source of its own, of which nothing is kept.
        """
        return self._each(lambda field: field[rows])._replace(targets_per_identity=1, kept=None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "SwapBatch":
        return SwapBatch(*(change(field) if isinstance(field, Tensor) else field for field in self))


def join_batches(batches: Sequence[SwapBatch]) -> SwapBatch:
    """The pairs of several batches in one, in order; a field that the first one lacks stays None.

    Which exact swaps are known stays so, if only some of them say it. Where they have different numbers of targets per
    identity, each pair counts as one with a source of its own.
    """
    if any(batch.truth_known is not None for batch in batches):
        batches = [batch._replace(truth_known=batch.exact) for batch in batches]
    columns = zip(*batches, strict=True)
    joined = [torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
    alike = len({batch.targets_per_identity for batch in batches}) == 1
    return SwapBatch(*joined) if alike else SwapBatch(*joined)._replace(targets_per_identity=1)


def repeat_rows(values: Tensor, times: int) -> Tensor:
    """(M, ...) -> (M * times, ...): every row that many times in a row; itself for 1, and a view for a single row."""
    if values.shape[0] == 1:  # asks nothing of `times`, which an export may leave open
        return values.expand(times, *values.shape[1:])
    return values if times == 1 else values.unsqueeze(1).expand(-1, times, *values.shape[1:]).flatten(0, 1)


class SwapOutput(NamedTuple):
    """What a student returns for a target."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]: the swap, already fused with the target."""
    mask: Tensor | None = None
    """(N, 1, S, S) in [0, 1]: the weakly-semantic fusion mask, 1 where the generated face is used; None if the student
    has no such mask."""
    generated: Tensor | None = None
    """(N, 3, S, S) in [0, 1]: the generated picture before the fusion; None if the student has no fusion."""
    scales: tuple[Tensor, ...] = ()
    """(N, 3, s_i, s_i) in [0, 1] each: the swap at smaller sizes, from large to small, where the student makes it."""


class IdentityFeatures(NamedTuple):
    """What an identity encoder sees in N faces, all of one pass."""

    embedding: Tensor
    """(N, D), L2-normalised."""
    features: Tensor
    """(N, C, h, w): the last spatial map, before the embedding."""
    shallow: tuple[Tensor, ...] = ()
    """Early maps, (N, C_i, h_i, w_i) each, from fine to coarse: perceptual losses compare them."""
    length: Tensor | None = None
    """(N,): norm of the embedding before it was normalised, where the encoder tells it."""

    def repeated(self, times: int) -> "IdentityFeatures":
        """Every face that many times in a row; itself for 1."""
        embedding, features, length = (
            None if values is None else repeat_rows(values, times)
            for values in (self.embedding, self.features, self.length)
        )
        return IdentityFeatures(embedding, features, tuple(repeat_rows(level, times) for level in self.shallow), length)

    def for_targets(self, target: Tensor) -> "IdentityFeatures":
        """One face for each of N targets, (N, ...): each of the M faces N / M times in a row.

        Raises ValueError unless M divides N.
        """
        count = target.shape[0]
        faces = (self.features if self.embedding is None else self.embedding).shape[0]
        if count % faces:
            raise ValueError(f"{count} targets, but {faces} identities: each must have the same number of targets")
        return self.repeated(count // faces)


class IdentityEncoder(Protocol):
    """A frozen face recogniser: crops, resizes and normalises house images itself. Gradients flow to the image."""

    name: str
    licence: str
    embedding_dim: int
    feature_channels: int
    feature_size: int
    template: str
    """Alignment template of the crop that it looks at."""
    input_size: int
    """Side of that crop in pixels."""

    def __call__(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], in the framing that the encoder was told to expect."""
        ...


class EncoderDescription(NamedTuple):
    """What a student is told of the encoder whose identities it reads, and what its file keeps of it."""

    embedding_dim: int
    feature_channels: int
    feature_size: int = 7
    name: str = ""
    """Empty where it is not known, as for a network that is only measured."""
    mark: tuple[float, ...] = ()
    """Part of what the encoder answers to a fixed picture, which tells trained weights apart; empty: not known."""


class Verdict(NamedTuple):
    """What a discriminator says of N pictures."""

    logits: tuple[Tensor, ...] = ()
    """One map per scale, (N, 1, h_i, w_i): higher where the picture looks more like a photograph of the data."""
    features: tuple[tuple[Tensor, ...], ...] = ()
    """Per scale, the maps on the way there, (N, C_j, h_j, w_j) each, from shallow to deep."""


class Look(NamedTuple):
    """What the frozen networks see in N pictures."""

    embedding: Tensor
    """(N, D): identity, L2-normalised."""
    perceptual: tuple[Tensor, ...] = ()
    """Feature maps for the perceptual loss, (N, C_i, h_i, w_i) each."""


class Prediction(NamedTuple):
    """N swaps by a network that learns, with what the losses need to know about them, with gradient.

    A term of the losses that asks for a look at the swap, or at the pasted face, gets it; otherwise nobody may have
    looked.
    """

    image: Tensor
    """(N, 3, S, S)."""
    embedding: Tensor | None = None
    """(N, D): identity of `image`, L2-normalised."""
    mask: Tensor | None = None
    """(N, 1, S, S) in [0, 1], as in SwapOutput."""
    perceptual: tuple[Tensor, ...] = ()
    """Feature maps of `image` for the perceptual loss, (N, C_i, h_i, w_i) each."""
    verdict: Verdict = Verdict()
    """Of `image`, where there is a discriminator."""
    attributes: tuple[Tensor, ...] = ()
    """Attribute maps of `image`, (N, C_i, h_i, w_i) each, where the network has an encoder of attributes."""
    target_attributes: tuple[Tensor, ...] = ()
    """The same of the target: that encoder learns from both."""
    generated: Tensor | None = None
    """(N, 3, S, S): the generated picture before the fusion; None where there is no fusion, and `image` is all."""
    pasted: Look | None = None
    """Of the face of `generated` in the picture of the answer: the part of the swap that the mask has no say in."""
    scales: tuple[Tensor, ...] = ()
    """The swap at smaller sizes, as in SwapOutput."""
    scale_embeddings: tuple[Tensor, ...] = ()
    """(N, D) each: identities of `scales`, L2-normalised."""


class Supervision(NamedTuple):
    """What N swaps are compared with. A term of the losses that asks for a field gets it; others may be empty."""

    target: Tensor
    """(N, 3, S, S) in [0, 1]."""
    embedding: Tensor
    """(N, D): identity of the source, L2-normalised."""
    face: Tensor
    """(N, 1, S, S) in [0, 1]: as in SwapBatch."""
    same: Tensor
    """(N,) bool: as in SwapBatch."""
    answer: Tensor | None = None
    """(N, 3, S, S) in [0, 1]: what the swap should look like, by a teacher or exactly."""
    perceptual: tuple[Tensor, ...] = ()
    """Feature maps of `answer`, as in Prediction."""
    verdict: Verdict = Verdict()
    """A discriminator's, of `target`."""
    known: Tensor | None = None
    """(N,) bool: rows in which somebody knows `answer`, which is the target in the others. None: all."""
    target_perceptual: tuple[Tensor, ...] = ()
    """Feature maps of `target`, as in Prediction."""


class Network(NamedTuple):
    """A network that shall leave PyTorch."""

    name: str
    """Stem of its files: "swap" for the one that gives pictures, "encoder" for the encoder."""
    module: nn.Module
    """In eval mode, frozen, float32, on the CPU; positional tensors in, a tuple of tensors out; free of branches."""
    inputs: dict[str, Tensor]
    """An example of every input by its name, in order, with N = 1."""
    outputs: tuple[str, ...]
    """Names of the outputs, in order."""
    per_frame: bool = False
    """Whether it runs once per frame, so that its speed is what counts; others run once per person."""
    stride: int | None = None
    """Of the input "target": its sides may be any multiples of this; None: as in the example."""
    shared: tuple[str, ...] = ()
    """Inputs that all pictures of a call share."""
    delicate: tuple[str, ...] = ()
    """Outputs that eight bits would spoil: int8 leaves alone all that they hang on, shared with others or not."""
    recipe: Mapping[str, Any] | None = None
    """JSON-able: what the module is built from again with other weights; None if it cannot be."""


class RunInput(NamedTuple):
    """What a run was made from, beside its options: data, a teacher or its kept answers, an encoder, a student."""

    kind: str
    """Such as "data", "teacher", "cache", "encoder", "student"."""
    name: str
    about: Mapping[str, str]
    """What tells this one from others of its name: checksums, where it lies, terms of use."""
