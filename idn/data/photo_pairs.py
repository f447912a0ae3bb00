"""Dataset of pairs of photographs, source and target, and the loaders of a run on them."""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.augment import Augment
from idn.data.like_poses import LikePoses
from idn.data.loaders import JoinedItems, SwapData, check_size, targets_that_fit
from idn.data.packed import Runs
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions, LandmarkRegions
from idn.data.shards.windows import Windows
from idn.data.stable_draws import below, one_of, seed_of
from idn.errors import FileError, OptionError
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
        pose_difference: float | None = None,
        window: int | None = None,
    ) -> None:
        """Draw from one part of a folder.

        part: "train" or "val", disjoint in identities.
        holdout: share of identities in "val".
        same_ratio: share of pairs that show one person twice, in two photographs, where the source's person has two.
        same_photograph: the others count, too: their one photograph is paired with itself.
        pose_difference: largest angle in degrees between the heads of source and target, see `head_pose`; None for any.
            A source that nobody is so near to gets the nearest target, one whose landmarks nobody knows gets any. An
            augmentation then mirrors all pictures of an item or none.
        augment: changes every source and every target apart from each other.
        regions: says where the face is; None fits a face shape to the landmarks.
        targets_per_identity: pairs of an item, all with one source.
        window: shards that the people of an item are drawn from, see `Windows`; None for all people of the part.
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
        self.windows = None
        if window is not None:
            require_int("window", window, 1)
            if folder.shards is None:
                raise OptionError(
                    "window",
                    window,
                    f"takes shards, and {folder.root} is a folder: run `idn shards` on it, or leave the window out",
                )
            if pose_difference is not None:
                raise OptionError("pose_difference", pose_difference, "is for all people at once: leave the window out")
            self.windows = Windows(self.people, folder.shards.shards(), window, self.stream)
        self.partners = None
        if pose_difference is not None:
            require_number("pose_difference", pose_difference, 0)
            self.partners = LikePoses(folder.poses(), self.people, pose_difference)

    def __len__(self) -> int:
        """How many photographs the part holds."""
        return self.people.total()

    def left_out(self) -> str:
        """Which wishes cannot be met for which photographs, for the end of a line; empty if there are none."""
        alone = int((self.people.sizes() == 1).sum())
        said = "" if self.partners is None else self.partners.left_out()
        if not self.same_ratio or not alone or self.same_photograph:
            return said
        who = "nobody has" if alone == len(self.people) else f"{alone} of {len(self.people)} identities do not have"
        return f"{said}; pairs of one person take two photographs, which {who}"

    def __getitem__(self, index: int) -> SwapBatch:
        """Item `index`: `targets_per_identity` pairs of one source, images (k, 3, S, S), face (k, 1, S, S), same (k,),
        and landmarks (k, 5, 2) if the folder knows any and nothing is augmented.

        Unreadable photographs are passed over. Raises UserError if there are too many of them, IndexError below 0.
        """
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        draw = torch.Generator().manual_seed(seed_of(f"{self.stream}/{index}"))
        people = self._people(index)
        (person, photo), pixels = self._read(lambda attempt: _anybody(people, draw))
        source = from_uint8(pixels[None])
        mirrored = None
        if self.augment is not None:
            if self.partners is not None:
                mirrored = float(torch.rand((), generator=draw)) < self.augment.flip
            source, _ = self.augment(source, None, below(2**62, draw), mirrored)
        shown = [self._target(people, person, photo, draw, mirrored) for _ in range(self.targets_per_identity)]
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

    def _people(self, index: int) -> Runs:
        """Those whom item `index` may show."""
        if self.windows is None:
            return self.people
        people, following = self.windows.draw_from(index)
        self.folder.shards.prefetch(following)
        return people

    def _target(self, people: Runs, person: int, photo: int, draw: torch.Generator, mirrored: bool | None) -> Target:
        """A target for this source, one of `people`, mirrored or not, or left to chance.

        Landmarks are left out where an augmentation moves the face away from them.
        """
        wanted = float(torch.rand((), generator=draw)) < self.same_ratio
        others = [other for other in people[person] if other != photo] if wanted else []
        if self.partners is not None:
            others = self.partners.near(photo, others)
        if wanted and not others and self.same_photograph:
            others = [photo]

        def choose(attempt: int) -> tuple[int, int]:
            if others and attempt == 0:
                return person, one_of(others, draw)
            if self.partners is not None and attempt < _ATTEMPTS // 2:
                return self.partners.draw(person, photo, draw)
            other = (person + 1 + below(len(people) - 1, draw)) % len(people)
            return other, one_of(people[other], draw)

        (shown, chosen), pixels = self._read(choose)
        image, points = from_uint8(pixels[None]), self.folder.landmarks(chosen)
        face = self.regions(image, None if points is None else points[None])
        if self.augment is not None:
            image, face = self.augment(image, face, below(2**62, draw), mirrored)
        known = torch.full((5, 2), math.nan) if points is None else points.float()
        return Target(image, face, torch.tensor([shown == person]), known[None])


def _anybody(people: Runs, draw: torch.Generator) -> tuple[int, int]:
    person = below(len(people), draw)
    return person, one_of(people[person], draw)


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
    targets_per_identity: int | None = 1,
    same_photograph: bool = False,
    pose_difference: float | None = None,
    window: int | None = None,
) -> SwapData:
    """Loaders for a run on photographs: augmented pairs to train with, plain pairs of held-out people to validate, none
    of them of one person, in any pose, and each with a source of its own.

    The options are those of FaceFolder and FaceSwaps.
    batch: pairs per step.
    targets_per_identity: see `targets_that_fit`.
    val_batches: batches per validation.
    workers: loader processes.
    Says on stderr if the crops on disk are too small. Raises UserError as they do, and for options that cannot be.
    """
    check_size(size)
    require_int("batch", batch, 1)
    targets = targets_that_fit(targets_per_identity, batch)
    require_divisor("targets_per_identity", targets, "batch", batch)
    require_int("val_batches", val_batches, 1)
    require_int("seed", seed)
    require_callable("augment", augment)
    require_callable("regions", regions)
    folder = FaceFolder(root, size, template, stored_template, layout, cache)
    train = FaceSwaps(
        folder,
        "train",
        holdout,
        seed,
        same_ratio,
        augment,
        regions,
        targets,
        same_photograph,
        pose_difference,
        window,
    )
    val = JoinedItems(FaceSwaps(folder, "val", holdout, seed, 0.0, None, regions, window=window), targets)
    items = batch // targets
    data = SwapData(train, val, val_batches * items, size, template, items, join_batches, workers, photographs=True)
    data.manifest = folder.index.facts.digest
    print(folder.summary(holdout) + train.left_out(), file=sys.stderr)
    folder.tell_if_small()
    return data
