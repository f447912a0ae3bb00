"""Dataset of FSTriplets: an item draws a class by its probability, then pictures of that, and says what is known."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.crop_reader import CropReader
from idn.data.fstriplets.augment import TripletAugment
from idn.data.fstriplets.folder import TripletFolder
from idn.data.fstriplets.layout import EDITED_TARGET, VANILLA, Pair, Shown
from idn.data.fstriplets.mixture import SAME, Mixture
from idn.data.fstriplets.occluders import paste
from idn.data.regions import FaceRegions, LandmarkRegions
from idn.data.stable_draws import below, seed_of
from idn.errors import FileError
from idn.files.option_checks import require_number
from idn.files.photos import UnreadablePhoto
from idn.images import from_uint8
from idn.types import SwapBatch

_ATTEMPTS = 20
"""Draws until readable pictures must have turned up."""
_MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks of a mirrored face."""


class Chosen(NamedTuple):
    """Pictures of an item, by name."""

    source: str
    target: str
    result: str | None
    """The exact swap: the target itself, the source itself or another picture; None: nobody knows it."""
    free: tuple[bool, bool]
    """Whether source and target may be augmented."""
    source_is_photograph: bool
    """As in SwapBatch."""


class FSTriplets(Dataset[SwapBatch]):
    """Endless triplets, one per item. Item i depends on nothing but the folder, the options, the seed and i.

    So no two epochs draw alike, wherever a run goes on, and processes that take turns draw what one would. Items of
    the held-out part do not depend on the seed either: every run is validated on the same ones.
    """

    def __init__(
        self,
        folder: TripletFolder,
        read: CropReader,
        probabilities: Mapping[str, float],
        part: str = "train",
        holdout: float = 0.05,
        seed: int = 0,
        real_target: tuple[str, ...] = ("bald", "grin"),
        augment: TripletAugment | None = None,
        regions: FaceRegions | None = None,
        occlusion: float = 0.0,
    ) -> None:
        """Draw from one part of a folder.

        read: reads its pictures.
        probabilities: by class, see `by_class`; those of absent classes go to the others.
        part: "train" or "val", disjoint in people; pairs that show one photograph twice are left out of the latter.
        holdout: share of the people in "val".
        real_target: classes of target_as_gt whose target is always the photograph; of others it is either version.
        augment: changes sources and targets, where no exact result is in its way.
        regions: says where the face is; None fits a face shape to the landmarks.
        occlusion: probability of an occluder on the target, and on the result.
        Raises OptionError if no class of the part can be drawn of, if there are no occluders, and for numbers that
        cannot be.
        """
        require_number("occlusion", occlusion, 0, 1)
        self.folder, self.read, self.augment, self.occlusion = folder, read, augment, occlusion
        self.real_target = real_target
        self.regions = LandmarkRegions(read.template) if regions is None else regions
        self.stream = f"train/{seed}" if part == "train" else "val"
        self.content = folder.part(part, holdout)
        self.vanilla: list[Shown] = sorted(self.content.get(VANILLA, []))
        self.people = [one.who for one in self.vanilla]
        present = list(self.content)
        if VANILLA in present and part == "train":
            present.append(SAME)
        asked = dict(probabilities) if part == "train" else {k: v for k, v in probabilities.items() if k != SAME}
        self.mixture = Mixture(asked, present)
        self.occluders = folder.occluders() if occlusion else None

    def __len__(self) -> int:
        """How many photographs and triplets the part holds: an epoch."""
        return sum(map(len, self.content.values()))

    def __getitem__(self, index: int) -> SwapBatch:
        """Item `index`: images (1, 3, S, S), face (1, 1, S, S), the others (1,), and landmarks (1, 5, 2).

        Raises UserError if there are too many unreadable pictures, IndexError below 0.
        """
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        draw = torch.Generator().manual_seed(seed_of(f"{self.stream}/{index}"))
        for _ in range(_ATTEMPTS):
            chosen = self._choose(draw)
            try:
                return self._item(chosen, draw)
            except UnreadablePhoto:
                continue
        bad = next(iter(self.read.unreadable.items()))
        raise FileError(self.read.root, f"holds too many unreadable pictures, the first is {bad[0]} ({bad[1]})")

    def _choose(self, draw: torch.Generator) -> Chosen:
        """Pictures of a drawn class."""
        name = self.mixture.draw(draw)
        if name in (VANILLA, SAME):
            return self._two_photographs(name == SAME, draw)
        one = self.content[name][below(len(self.content[name]), draw)]
        if name == EDITED_TARGET:
            source = one.others[below(len(one.others), draw)] if one.others else one.original
            edited = one.edited[below(len(one.edited), draw)]
            return Chosen(source, edited, one.original, (True, False), True)
        kind, _, inner = name.partition("/")
        return _of_pair(one, kind == "source_as_gt", inner in self.real_target, draw)

    def _two_photographs(self, same: bool, draw: torch.Generator) -> Chosen:
        """Two photographs of different people, or one twice."""
        first = self.vanilla[below(len(self.vanilla), draw)]
        if same:
            return Chosen(first.name, first.name, first.name, (True, True), True)
        start, end = bisect_left(self.people, first.who), bisect_right(self.people, first.who)
        number = below(len(self.vanilla) - (end - start), draw)
        other = self.vanilla[number if number < start else number + end - start]
        return Chosen(first.name, other.name, None, (True, True), True)

    def _item(self, chosen: Chosen, draw: torch.Generator) -> SwapBatch:
        """Read, augment and occlude. Raises UnreadablePhoto."""
        source, target = (from_uint8(self.read(name)[None]) for name in (chosen.source, chosen.target))
        points = self._points(chosen.target)
        face = self.regions(target, None if points is None else points[None])
        if (cover := self.folder.cover(chosen.target)) is not None:
            face = face * (1 - from_uint8(self.read(cover)[None, :1]))
        itself = chosen.result == chosen.target
        truth = target
        if chosen.result not in (None, chosen.target):
            truth = source if chosen.result == chosen.source else from_uint8(self.read(chosen.result)[None])
        points = self._points(chosen.result or chosen.target)
        if self.augment is not None and chosen.free[0]:
            source = self.augment(source, "source", draw).image
        if self.augment is not None and chosen.free[1]:
            target, mirrored = self.augment(target, "target", draw)
            truth = target
            if mirrored:
                face, points = face.flip(-1), _mirrored(points)
        if self.occluders is not None and float(torch.rand((), generator=draw)) < self.occlusion:
            colours, cover = self.occluders.draw(target.shape[-1], draw)
            target, truth, face = paste(target, colours, cover), paste(truth, colours, cover), face * (1 - cover)
        unknown = torch.full((5, 2), math.nan)
        return SwapBatch(
            source=source,
            target=target,
            face=face,
            same=torch.tensor([itself]),
            truth=truth,
            landmarks=(unknown if points is None else points.float())[None] if self.folder.knows_landmarks else None,
            truth_known=torch.tensor([chosen.result is not None]),
            source_is_photograph=torch.tensor([chosen.source_is_photograph]),
        )

    def _points(self, name: str) -> Tensor | None:
        """Landmarks in the delivered crop of a picture, (5, 2), where a manifest knows them."""
        stored = self.folder.landmarks(name)
        return None if stored is None else self.read.points(stored)


def _of_pair(pair: Pair, source_as_gt: bool, real_target: bool, draw: torch.Generator) -> Chosen:
    """What a photograph and its edited version are used for."""
    if source_as_gt:
        return Chosen(pair.original, pair.edited, pair.original, (False, False), True)
    turned = not real_target and float(torch.rand((), generator=draw)) < 0.5
    source, target = (pair.original, pair.edited) if turned else (pair.edited, pair.original)
    return Chosen(source, target, target, (True, True), False)


def _mirrored(points: Tensor | None) -> Tensor | None:
    """Landmarks of a mirrored picture, (5, 2)."""
    if points is None:
        return None
    return torch.stack([1 - points[:, 0], points[:, 1]], 1)[_MIRRORED]
