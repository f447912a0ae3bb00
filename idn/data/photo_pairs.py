"""Datasets of photographs: source-target pairs for swapping, labelled crops for recognition."""

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.augment import Augment
from idn.data.loaders import SwapData, check_size
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions, LandmarkRegions
from idn.errors import FileError
from idn.files.option_checks import require_bool, require_callable, require_divisor, require_int, require_number
from idn.files.photos import UnreadablePhoto
from idn.images import from_uint8
from idn.types import SwapBatch, join_batches, repeat_rows

_ATTEMPTS = 20
"""Draws until a readable pair must have turned up."""


class Target(NamedTuple):
    """N targets of a source."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    face: Tensor
    """(N, 1, S, S) in [0, 1]."""
    same: Tensor
    """(N,) bool: whether they show the person of the source."""
    landmarks: Tensor
    """(N, 5, 2) in normalised coordinates, NaN where nobody knows them."""


class FaceSwaps(Dataset[SwapBatch]):
    """Endless pairs of photographs, those of an item with one source. Item i depends on nothing but the folder, the
    options, the seed and i.

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
        targets_per_identity: int = 1,
        same_photograph: bool = False,
    ) -> None:
        """Draw from one part of a folder.

        part: "train" or "val", disjoint in identities.
        holdout: share of identities in "val".
        same_ratio: share of pairs that show one person twice, in two photographs, where the source's person has two.
        same_photograph: the others count, too: their one photograph is paired with itself.
        augment: changes every source and every target apart from each other.
        regions: says where the face is; None fits a face shape to the landmarks.
        targets_per_identity: pairs of an item, all with one source.
        Raises UserError if the part has fewer than two identities, OptionError for numbers that cannot be.
        """
        require_number("same_ratio", same_ratio, 0, 1)
        require_int("targets_per_identity", targets_per_identity, 1)
        require_bool("same_photograph", same_photograph)
        self.folder, self.same_ratio, self.augment = folder, same_ratio, augment
        self.targets_per_identity, self.same_photograph = targets_per_identity, same_photograph
        self.regions = LandmarkRegions(folder.template) if regions is None else regions
        self.people = folder.split(part, holdout)
        self.stream = f"train/{seed}" if part == "train" else "val"

    def __len__(self) -> int:
        """How many photographs the part holds."""
        return sum(map(len, self.people))

    def left_out(self) -> str:
        """Who is in no pair of one person although some are wanted, for the end of a line; empty if nobody."""
        alone = sum(len(photos) == 1 for photos in self.people)
        if not self.same_ratio or not alone or self.same_photograph:
            return ""
        who = "nobody has" if alone == len(self.people) else f"{alone} of {len(self.people)} identities do not have"
        return f"; pairs of one person take two photographs, which {who}"

    def __getitem__(self, index: int) -> SwapBatch:
        """Item `index`: `targets_per_identity` pairs of one source, images (k, 3, S, S), face (k, 1, S, S), same (k,),
        and landmarks (k, 5, 2) if the folder knows any and nothing is augmented.

        Unreadable photographs are passed over. Raises UserError if there are too many of them, IndexError below 0.
        """
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        draw = torch.Generator().manual_seed(_seed(f"{self.stream}/{index}"))
        (person, photo), pixels = self._read(lambda attempt: self._anybody(draw))
        source = from_uint8(pixels[None])
        if self.augment is not None:
            source, _ = self.augment(source, None, _below(2**62, draw))
        shown = [self._target(person, photo, draw) for _ in range(self.targets_per_identity)]
        targets = Target(*map(torch.cat, zip(*shown, strict=True)))
        return SwapBatch(
            source=repeat_rows(source, len(shown)),
            target=targets.image,
            face=targets.face,
            same=targets.same,
            landmarks=targets.landmarks if self.augment is None and self.folder.knows_landmarks else None,
            targets_per_identity=len(shown),
        )

    def _read(self, choose: Callable[[int], tuple[int, int]]) -> tuple[tuple[int, int], Tensor]:
        """The first choice that can be read, person and photograph, and its bytes. choose: gets the attempt, from 0."""
        for attempt in range(_ATTEMPTS):
            chosen = choose(attempt)
            try:
                return chosen, self.folder.read(chosen[1])
            except UnreadablePhoto:
                continue
        bad = next(iter(self.folder.unreadable.items()))
        raise FileError(self.folder.root, f"holds too many unreadable pictures, the first is {bad[0]} ({bad[1]})")

    def _anybody(self, draw: torch.Generator) -> tuple[int, int]:
        person = _below(len(self.people), draw)
        return person, _one_of(self.people[person], draw)

    def _target(self, person: int, photo: int, draw: torch.Generator) -> Target:
        """A target for this source.

        Landmarks are left out where an augmentation moves the face away from them.
        """
        wanted = float(torch.rand((), generator=draw)) < self.same_ratio
        others = [other for other in self.people[person] if other != photo] if wanted else []
        if wanted and not others and self.same_photograph:
            others = [photo]

        def choose(attempt: int) -> tuple[int, int]:
            if others and attempt == 0:
                return person, _one_of(others, draw)
            other = (person + 1 + _below(len(self.people) - 1, draw)) % len(self.people)
            return other, _one_of(self.people[other], draw)

        (shown, chosen), pixels = self._read(choose)
        image, points = from_uint8(pixels[None]), self.folder.landmarks(chosen)
        face = self.regions(image, None if points is None else points[None])
        if self.augment is not None:
            image, face = self.augment(image, face, _below(2**62, draw))
        known = torch.full((5, 2), math.nan) if points is None else points.float()
        return Target(image, face, torch.tensor([shown == person]), known[None])


class JoinedItems(Dataset[SwapBatch]):
    """Item i holds the items i * count to i * count + count - 1 of another data set, in order."""

    def __init__(self, dataset: Dataset[SwapBatch], count: int) -> None:
        self.dataset, self.count = dataset, count

    def __getitem__(self, index: int) -> SwapBatch:
        """Raises what the data set raises."""
        return join_batches([self.dataset[index * self.count + number] for number in range(self.count)])


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
    targets_per_identity: int = 1,
    same_photograph: bool = False,
) -> SwapData:
    """Loaders for a run on photographs: augmented pairs to train with, plain pairs of held-out people to validate, none
    of them of one person and each with a source of its own.

    The options are those of FaceFolder and FaceSwaps.
    batch: pairs per step.
    val_batches: batches per validation.
    workers: loader processes.
    Says on stderr if the crops on disk are too small. Raises UserError as they do, and for options that cannot be.
    """
    check_size(size)
    require_int("batch", batch, 1)
    require_divisor("targets_per_identity", targets_per_identity, "batch", batch)
    require_int("val_batches", val_batches, 1)
    require_int("seed", seed)
    require_callable("augment", augment)
    require_callable("regions", regions)
    folder = FaceFolder(root, size, template, stored_template, layout, cache)
    train = FaceSwaps(
        folder, "train", holdout, seed, same_ratio, augment, regions, targets_per_identity, same_photograph
    )
    val = JoinedItems(FaceSwaps(folder, "val", holdout, seed, 0.0, None, regions), targets_per_identity)
    items = batch // targets_per_identity
    data = SwapData(train, val, val_batches * items, size, template, items, join_batches, workers, photographs=True)
    print(folder.summary(holdout) + train.left_out(), file=sys.stderr)
    folder.tell_if_small()
    return data


def _seed(text: str) -> int:
    """A generator seed below 2**63 that depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def _one_of(photos: Sequence[int], draw: torch.Generator) -> int:
    return photos[_below(len(photos), draw)]


def _below(limit: int, draw: torch.Generator) -> int:
    """A number in 0 .. limit - 1."""
    return int(torch.randint(limit, (), generator=draw))
