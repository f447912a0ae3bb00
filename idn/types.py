"""The values that travel between data, networks, teachers and losses. Images are RGB in [0, 1], (N, 3, H, W)."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


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
    """(N, 3, S, S): the exact swap, where the data can know it."""
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

    def to(self, device: torch.device | str) -> "SwapBatch":
        """The same pairs on another device. Lightning moves them by this, too.

        Copies to a CUDA device are queued there, and nothing waits for them.
        """
        queued = torch.device(device).type == "cuda"
        return SwapBatch(*(None if field is None else field.to(device, non_blocking=queued) for field in self))

    def take(self, rows: int | slice | Tensor) -> "SwapBatch":
        """Some of the pairs: a slice or a tensor of their numbers, or one of them without its batch dimension."""
        return SwapBatch(*(None if field is None else field[rows] for field in self))


class SwapOutput(NamedTuple):
    """What a student returns for a target."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]: the swap, already fused with the target."""
    mask: Tensor | None = None
    """(N, 1, S, S) in [0, 1]: the weakly-semantic fusion mask, 1 where the generated face is used; None if the student
    has no such mask."""


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


class Prediction(NamedTuple):
    """N swaps by a network that learns, with what the losses need to know about them, with gradient."""

    image: Tensor
    """(N, 3, S, S)."""
    embedding: Tensor
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
    """Outputs whose maps eight bits would spoil: int8 leaves alone what makes these and nothing else."""
    recipe: Mapping[str, Any] | None = None
    """JSON-able: what the module is built from again with other weights; None if it cannot be."""
