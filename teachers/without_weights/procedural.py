"""A teacher that knows the exact swap of rendered people, and can be told to be wrong."""

from typing import Protocol

import torch
from torch import Tensor

from idn.errors import UserError
from idn.files.option_checks import require_number
from idn.reweighting.graded.degradations import spoil
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.without_weights.stable_random import hash_rows, shift, unit

_TERMS = FAMILIES["procedural"]
RECORD = TeacherRecord(
    name="procedural",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(),
    source=SourceInput("nothing"),
    full_precision=True,
)


class Rendering(Protocol):
    """What a renderer returns."""

    image: Tensor
    """(N, 3, S, S) RGB in [0, 1]."""


class Renderer(Protocol):
    """Draws people from numbers: who they are, and everything else."""

    def sample_identity(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, I) identities drawn at random with a CPU generator."""
        ...

    def render(self, identity: Tensor, attributes: Tensor, size: int) -> Rendering:
        """identity: (N, I); attributes: (N, A); size: pixels S."""
        ...


class ProceduralTeacher(FrozenTeacher):
    """Returns `batch.truth`, except where it fails on purpose, as real teachers do. Draws the truth where the batch
    does not hold it, but says who and how.

    renderer: the one that made the data. wrong_identity: share of pairs that get the face of a stranger. artefacts:
    share of pairs whose face is spoiled. Both in [0, 1] and independent of each other. seed: which pairs fail.

    Whether and how a pair fails follows from its identity and attribute numbers and the seed alone: it fails the same
    way in every epoch, in every batch, on every device, whatever the global random state. Raises UserError for shares
    outside [0, 1].
    """

    def __init__(self, renderer: Renderer, wrong_identity: float, artefacts: float, seed: int) -> None:
        super().__init__(RECORD, crop_template=None)
        for name, share in (("wrong_identity", wrong_identity), ("artefacts", artefacts)):
            require_number(name, share, 0, 1)
        self.renderer = renderer
        self.wrong_identity = wrong_identity
        self.artefacts = artefacts
        self.seed = seed
        self.freeze()

    def failures(self, batch: SwapBatch) -> tuple[Tensor, Tensor]:
        """Which samples show a stranger and which are spoiled: two (N,) bool tensors on the batch's device.

        Raises UserError if a share is above 0 and the batch does not know its identities and attributes.
        """
        none = torch.zeros(len(batch.target), dtype=torch.bool, device=batch.target.device)
        if self.wrong_identity == 0 and self.artefacts == 0:
            return none, none.clone()
        content = _content(batch)
        wrong = unit(hash_rows(content, self.seed, 1)) < self.wrong_identity
        return wrong, unit(hash_rows(content, self.seed, 2)) < self.artefacts

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return (N, 3, S, S) RGB in [0, 1]. Raises UserError if the batch does not know its truth."""
        image = self._truth(target, batch)
        wrong, spoiled = self.failures(batch)
        if wrong.any():
            seeds = hash_rows(_content(batch), self.seed, 3)[wrong]
            strangers = torch.cat([self.renderer.sample_identity(1, g) for g in _generators(seeds)])
            attributes = batch.target_attributes[wrong]
            drawn = self.renderer.render(strangers.to(attributes), attributes, target.shape[-1]).image
            image[wrong] = drawn.to(image.dtype)
        if spoiled.any():
            generators = _generators(hash_rows(_content(batch), self.seed, 4)[spoiled])
            faces = zip(image[spoiled], batch.face[spoiled], generators, strict=True)
            image[spoiled] = torch.stack([spoil(picture, face, g) for picture, face, g in faces])
        return image

    def _truth(self, target: Tensor, batch: SwapBatch) -> Tensor:
        """The exact swap, as a tensor that may be changed."""
        if batch.truth is not None and (batch.truth_known is None or bool(batch.truth_known.all())):
            return batch.truth.clone()
        if batch.source_identity is None or batch.target_attributes is None:
            raise UserError("the procedural teacher needs data that knows the exact swap: take procedural faces")
        drawn = self.renderer.render(batch.source_identity, batch.target_attributes, target.shape[-1]).image
        return drawn.to(target.dtype)


def _content(batch: SwapBatch) -> Tensor:
    """(N, K) int64: the bits of what makes a pair, equal for equal numbers."""
    if batch.source_identity is None or batch.target_attributes is None:
        raise UserError(
            "the procedural teacher can only fail on rendered people: take procedural faces, or set its "
            "wrong_identity and artefacts to 0"
        )
    numbers = torch.cat([batch.source_identity, batch.target_attributes], 1).float() + 0.0
    return numbers.contiguous().view(torch.int32).long()


def _generators(seeds: Tensor) -> list[torch.Generator]:
    """One CPU generator per sample."""
    return [torch.Generator().manual_seed(seed) for seed in shift(seeds, 1).tolist()]
