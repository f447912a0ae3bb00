"""Datasets of photographs: source-target pairs for swapping, labelled crops for recognition."""

import hashlib
import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.augment import Augment
from idn.data.loaders import SwapData, check_size
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions, LandmarkRegions
from idn.errors import FileError
from idn.files.option_checks import require_callable, require_int, require_number
from idn.files.photos import UnreadablePhoto
from idn.images import from_uint8
from idn.types import SwapBatch

_ATTEMPTS = 20
"""Draws until a readable pair must have turned up."""


class FaceSwaps(Dataset[SwapBatch]):
    """Endless pairs of photographs. Item i depends on nothing but the folder, the options, the seed and i.

    Items of the held-out part do not depend on the seed either: every run is validated on the same pairs. Index i may
    exceed the length, which only says how many photographs the part holds.
    """

    def __init__(
        self,
        folder: FaceFolder,
        part: str = "train",
        holdout: float = 0.05,
        seed: int = 0,
        same_ratio: float = 0.2,
        augment: Augment | None = None,
        regions: FaceRegions | None = None,
    ) -> None:
        """Draw from one part of a folder.

        part: "train" or "val", disjoint in identities; holdout: share of identities in "val". same_ratio: share of
        pairs that show one person twice: two photographs of that person, or, where only one exists, that one twice,
        changed in two ways if `augment` is given. regions: says where the face is; None fits a face shape to the
        landmarks. Raises UserError if the part has fewer than two identities or the ratio lies outside [0, 1].
        """
        require_number("same_ratio", same_ratio, 0, 1)
        self.folder, self.same_ratio, self.augment = folder, same_ratio, augment
        self.regions = LandmarkRegions(folder.template) if regions is None else regions
        self.people = folder.split(part, holdout)
        self.stream = f"train/{seed}" if part == "train" else "val"

    def __len__(self) -> int:
        """How many photographs the part holds."""
        return sum(map(len, self.people))

    def __getitem__(self, index: int) -> SwapBatch:
        """Sample `index` without a batch dimension: images (3, S, S), face (1, S, S), same () bool, and
        landmarks (5, 2) if the folder knows any and nothing is augmented.

        Unreadable photographs are passed over. Raises UserError if there are too many of them, IndexError below 0.
        """
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        draw = torch.Generator().manual_seed(_seed(f"{self.stream}/{index}"))
        same = float(torch.rand((), generator=draw)) < self.same_ratio
        for _ in range(_ATTEMPTS):
            first, second = self._pair(same, draw)
            try:
                source, target = self.folder.read(first), self.folder.read(second)
            except UnreadablePhoto:
                continue
            return self._sample(source, target, self.folder.landmarks(second), same, draw)
        bad = next(iter(self.folder.unreadable.items()))
        raise FileError(self.folder.root, f"holds too many unreadable pictures, the first is {bad[0]} ({bad[1]})")

    def _pair(self, same: bool, draw: torch.Generator) -> tuple[int, int]:
        """Photographs of a source and a target: of one person, or of two."""
        first = _below(len(self.people), draw)
        if not same:
            second = (first + 1 + _below(len(self.people) - 1, draw)) % len(self.people)
            a, b = self.people[first], self.people[second]
            return a[_below(len(a), draw)], b[_below(len(b), draw)]
        photos = self.people[first]
        one = _below(len(photos), draw)
        other = (one + 1 + _below(len(photos) - 1, draw)) % len(photos) if len(photos) > 1 else one
        return photos[one], photos[other]

    def _sample(
        self, source: Tensor, target: Tensor, points: Tensor | None, same: bool, draw: torch.Generator
    ) -> SwapBatch:
        """Bytes -> floats, the face region, and the augmentation of source and target apart from each other.

        Landmarks are left out where an augmentation moves the face away from them.
        """
        a, b = from_uint8(source[None]), from_uint8(target[None])
        face = self.regions(b, None if points is None else points[None])
        if self.augment is not None:
            a, _ = self.augment(a, None, _below(2**62, draw))
            b, face = self.augment(b, face, _below(2**62, draw))
        if self.augment is not None or not self.folder.knows_landmarks:
            return SwapBatch(a[0], b[0], face[0], torch.tensor(same))
        known = torch.full((5, 2), math.nan) if points is None else points.float()
        return SwapBatch(a[0], b[0], face[0], torch.tensor(same), landmarks=known)


class IdentityFolder(Dataset[tuple[Tensor, int]]):
    """Labelled crops of people, (3, S, S) in [0, 1] with a label from 0 on, to train and to verify recognisers."""

    def __init__(
        self,
        folder: FaceFolder,
        part: str = "train",
        holdout: float = 0.05,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Take the people of one part of a folder with one folder per identity.

        part, holdout: as in FaceSwaps. seed: of the augmentation. Raises UserError for a flat folder, or if the part
        has fewer than two identities.
        """
        if folder.flat:
            raise FileError(folder.root, "has no folder per identity: a recogniser needs several photographs of each")
        self.folder, self.seed, self.augment = folder, seed, augment
        people = folder.split(part, holdout)
        self.identities = len(people)
        """Number of labels."""
        self.items = [(index, label) for label, photos in enumerate(people) for index in photos]
        """Photograph in the folder and label, by index."""

    def __len__(self) -> int:
        """How many photographs the part holds."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Crop and label; a damaged file is replaced by the next readable one, with that one's label."""
        for step in range(_ATTEMPTS):
            photo, label = self.items[(index + step) % len(self.items)]
            try:
                image = from_uint8(self.folder.read(photo)[None])
            except UnreadablePhoto:
                continue
            if self.augment is not None:
                image, _ = self.augment(image, None, _seed(f"identity/{self.seed}/{index}"))
            return image[0], label
        raise FileError(
            self.folder.root, f"has {_ATTEMPTS} unreadable pictures in a row, from {self.folder.names[photo]}"
        )

    def pairs(self, count: int) -> list[tuple[int, int, bool]]:
        """Verification pairs, always the same: two items and whether they show one person; half of them do.

        Raises UserError if nobody has two photographs.
        """
        people: dict[int, list[int]] = {}
        for item, (_, label) in enumerate(self.items):
            people.setdefault(label, []).append(item)
        several = [items for items in people.values() if len(items) > 1]
        if not several:
            raise FileError(self.folder.root, "has nobody in this part with two photographs, so none can be verified")
        draw = torch.Generator().manual_seed(_seed("pairs"))
        chosen = []
        for number in range(count):
            if number % 2 == 0:
                items = several[_below(len(several), draw)]
                a, b = torch.randperm(len(items), generator=draw)[:2].tolist()
                chosen.append((items[a], items[b], True))
            else:
                a, b = (people[p] for p in torch.randperm(len(people), generator=draw)[:2].tolist())
                chosen.append((a[_below(len(a), draw)], b[_below(len(b), draw)], False))
        return chosen


def collate(samples: Sequence[SwapBatch]) -> SwapBatch:
    """Stack samples into a batch; a field that the first sample lacks stays None."""
    columns = zip(*samples, strict=True)
    return SwapBatch(*(None if column[0] is None else torch.stack(column) for column in columns))


def faces_data(
    root: str,
    size: int,
    template: str,
    batch: int,
    seed: int,
    stored_template: str | None = None,
    layout: str = "auto",
    holdout: float = 0.05,
    same_ratio: float = 0.2,
    val_batches: int = 8,
    workers: int = 2,
    cache: bool = False,
    augment: Augment | None = None,
    regions: FaceRegions | None = None,
) -> SwapData:
    """Loaders for a run on photographs: augmented pairs to train with, plain pairs of held-out people to validate, none
    of them of one person.

    The options are those of FaceFolder and FaceSwaps; batch: pairs per step; val_batches: batches per validation;
    workers: loader processes. Says on stderr if the crops on disk are too small. Raises UserError as they do, and for
    options that cannot be.
    """
    check_size(size)
    require_int("batch", batch, 1)
    require_int("val_batches", val_batches, 1)
    require_int("seed", seed)
    require_callable("augment", augment)
    require_callable("regions", regions)
    folder = FaceFolder(root, size, template, stored_template, layout, cache)
    train = FaceSwaps(folder, "train", holdout, seed, same_ratio, augment, regions)
    val = FaceSwaps(folder, "val", holdout, seed, 0.0, None, regions)
    data = SwapData(train, val, val_batches * batch, size, template, batch, collate, workers, photographs=True)
    print(folder.summary(holdout), file=sys.stderr)
    folder.tell_if_small()
    return data


def _seed(text: str) -> int:
    """A generator seed below 2**63 that depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def _below(limit: int, draw: torch.Generator) -> int:
    """A number in 0 .. limit - 1."""
    return int(torch.randint(limit, (), generator=draw))
