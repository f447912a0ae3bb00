"""Model protocol: whatever turns crops of one framing into crops with another face, for one source at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.errors import UserError
from idn.provenance.metadata import Lineage
from idn.types import IdentityFeatures, SwapOutput


class Person(Protocol):
    """A model with one source in it, ready for many targets."""

    def __call__(self, targets: Tensor) -> SwapOutput:
        """targets: (N, 3, S, S) RGB in [0, 1] in the framing and size of the model, on the CPU.

        Returns the image (N, 3, S, S) and, where the model predicts one, the mask (N, 1, S, S), on the CPU.
        """
        ...


class Model(ABC):
    """A swapper of crops.

    name: in reports, such as the name of its file.
    template, size: framing and side in pixels of its crops.
    notes: what is written into pictures about it: file, digest, teacher, licences.
    runtime: what computes it, such as "PyTorch" or "ONNX Runtime 1.32.0".
    fixed: whether its source is in it already, so that none can be given.
    drawn_only: whether it knows drawn faces alone, so that photographs are refused.
    """

    def __init__(
        self,
        name: str,
        template: str,
        size: int,
        notes: Mapping[str, str],
        runtime: str,
        fixed: bool = False,
        drawn_only: bool = False,
    ) -> None:
        self.name, self.template, self.size, self.notes = name, template, size, dict(notes)
        self.runtime, self.fixed, self.drawn_only = runtime, fixed, drawn_only

    @property
    def lineage(self) -> Lineage:
        """What pictures say of where they come from."""
        return Lineage(self.notes.get("model_sha256"), {k: v for k, v in self.notes.items() if k != "model_sha256"})

    @abstractmethod
    def look(self, crops: Tensor) -> IdentityFeatures | None:
        """Who is on crops, (N, 3, any, any) RGB in [0, 1] aligned to `template`; None if the model has no encoder."""

    def kept(self, path: Path) -> IdentityFeatures:
        """The identity that a file holds. Raises UserError if it is another encoder's, or if the model takes none."""
        raise UserError(f"{path} holds an identity, and {self.name} takes photographs: give source=PHOTO")

    @abstractmethod
    def person(self, who: IdentityFeatures | None, crop: Tensor | None) -> Person:
        """Take in one source.

        who: as `look` sees it, perhaps averaged over several photographs; None for a fixed model.
        crop: (3, any, any) RGB in [0, 1], the first of these photographs; None where there was only an identity's file.
        Raises UserError for what this model cannot take.
        """


def average(seen: Sequence[IdentityFeatures]) -> IdentityFeatures:
    """One person on several photographs: the mean of what an encoder saw, the embedding again of unit length.

    seen: one face each, (1, ...); at least one.
    """
    if len(seen) == 1:
        return seen[0]
    embeddings, features = ([getattr(one, name) for one in seen] for name in ("embedding", "features"))
    lengths = [one.length for one in seen]
    return IdentityFeatures(
        None if embeddings[0] is None else F.normalize(torch.stack(embeddings).mean(0)),
        None if features[0] is None else torch.stack(features).mean(0),
        length=None if lengths[0] is None else torch.stack(lengths).mean(0),
    )
