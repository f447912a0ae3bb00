"""Datasets for face recognition: labelled faces, and verification pairs of people held out."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from idn.data.augment import Augment
from idn.data.loaders import VALIDATION_SEED, StreamData, check_template
from idn.data.photo_folder import FaceFolder
from idn.data.procedural import FaceRenderer, ProceduralIdentities, verification_pairs
from idn.data.stable_draws import below, seed_of
from idn.errors import FileError
from idn.files.option_checks import require_callable, require_int
from idn.files.photos import UnreadablePhoto
from idn.images import from_uint8

_CHUNK = 100
"""Pairs of an item of RenderedPairs."""
_ATTEMPTS = 20
"""Unreadable photographs in a row that end a run."""


class RenderedPairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The same procedural pairs at every validation: item i is one chunk (images_a, images_b, same)."""

    def __init__(self, renderer: FaceRenderer, size: int, pairs: int, seed: int) -> None:
        self.chunks = list(verification_pairs(renderer, size, pairs, seed, _CHUNK))

    def __len__(self) -> int:
        """Number of chunks."""
        return len(self.chunks)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        """One chunk."""
        return self.chunks[item]


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
        self.items = people.members()
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
                image, _ = self.augment(image, None, seed_of(f"identity/{self.seed}/{index}"))
            return image[0], label
        raise FileError(
            self.folder.root, f"has {_ATTEMPTS} unreadable pictures in a row, from {self.folder.names[photo]}"
        )

    def pairs(self, count: int) -> list[tuple[int, int, bool]]:
        """Verification pairs, always the same: two items and whether they show one person; half of them do.

        Raises UserError if nobody has two photographs.
        """
        people = self.items.runs.places()
        several = people.take(people.sizes() > 1)
        if len(several) == 0:
            raise FileError(self.folder.root, "has nobody in this part with two photographs, so none can be verified")
        draw = torch.Generator().manual_seed(seed_of("pairs"))
        chosen = []
        for number in range(count):
            if number % 2 == 0:
                items = several[below(len(several), draw)]
                a, b = torch.randperm(len(items), generator=draw)[:2].tolist()
                chosen.append((items[a], items[b], True))
            else:
                a, b = (people[p] for p in torch.randperm(len(people), generator=draw)[:2].tolist())
                chosen.append((a[below(len(a), draw)], b[below(len(b), draw)], False))
        return chosen


class FolderPairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Fixed pairs of photographs of held-out people: item i is (image_a, image_b, same), without a batch dimension."""

    def __init__(self, people: IdentityFolder, pairs: int) -> None:
        self.people, self.chosen = people, people.pairs(pairs)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.chosen)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        """One pair."""
        a, b, same = self.chosen[item]
        return self.people[a][0], self.people[b][0], torch.tensor(same)


class Shuffled(Dataset[tuple[Tensor, int]]):
    """An endless stream over labelled photographs, each once per round, in an order that only depends on the seed."""

    def __init__(self, people: IdentityFolder, seed: int) -> None:
        self.people, self.seed = people, seed
        self._turn = -1
        self._order = torch.empty(0, dtype=torch.long)

    def order(self, turn: int) -> Tensor:
        """In which order, (len,), round `turn`, 0 or later, shows the photographs; that of one round is kept."""
        if turn != self._turn:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + turn) % 2**63)
            self._turn, self._order = turn, torch.randperm(len(self.people), generator=generator)
        return self._order

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Crop (3, S, S) and label; every round augments anew."""
        turn, position = divmod(index, len(self.people))
        return self.people[turn * len(self.people) + int(self.order(turn)[position])]


class RecognitionData(StreamData):
    """Labelled faces for training, verification pairs of other people for validation.

    classes: people in training. least_pairs: verification pairs of the rarer kind, same person or different ones.
    people: (classes, K) known coordinates of the people in training, or None.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        val_items: int,
        classes: int,
        least_pairs: int,
        people: Tensor | None = None,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__(train, val, val_items, batch_size, collate, workers)
        self.classes, self.least_pairs, self.people = classes, least_pairs, people


def procedural_identities(
    renderer: FaceRenderer, size: int, template: str, batch: int, identities: int, pairs: int, seed: int, workers: int
) -> RecognitionData:
    """`identities` procedural people, drawn anew for every batch; `pairs` verification pairs of other people.

    Raises OptionError if `template` is not the one in which the faces are drawn, and for numbers that cannot be.
    """
    check_template(renderer, template)
    _check_numbers(size, pairs, seed)
    train = ProceduralIdentities(renderer, size, batch, identities, seed)
    val = RenderedPairs(renderer, size, pairs, seed + VALIDATION_SEED)
    return RecognitionData(train, val, len(val), identities, pairs // 2, train.bank, workers=workers)


def folder_identities(
    root: str,
    size: int,
    template: str,
    stored_template: str | None,
    batch: int,
    holdout: float,
    pairs: int,
    seed: int,
    workers: int,
    cache: bool,
    augment: Augment | None,
) -> RecognitionData:
    """Photographs, one folder per person, as `idn align` leaves them; `pairs` verification pairs of held-out people.

    batch: photographs per step, at least 2, which BatchNorm needs. The other options are those of FaceFolder and
    IdentityFolder. Says on stderr if the crops on disk are too small. UserErrors as theirs, and for options that cannot
    be.
    """
    _check_numbers(size, pairs, seed)
    require_int("batch", batch, 2)
    require_callable("augment", augment)
    folder = FaceFolder(root, size, template, stored_template, "identities", cache)
    people = IdentityFolder(folder, "train", holdout, seed, augment)
    val = FolderPairs(IdentityFolder(folder, "val", holdout, seed), pairs)
    train = Shuffled(people, seed)
    data = RecognitionData(train, val, len(val), people.identities, pairs // 2, None, batch, None, workers)
    data.manifest = folder.index.facts.digest
    print(folder.summary(holdout), file=sys.stderr)
    folder.tell_if_small()
    return data


def _check_numbers(size: int, pairs: int, seed: int) -> None:
    """Raise OptionError for numbers that neither kind of data can work with."""
    require_int("size", size, 16)
    require_int("pairs", pairs, 2)
    require_int("seed", seed)
