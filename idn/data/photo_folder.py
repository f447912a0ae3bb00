"""Folder of face crops on disk: what it holds, who is on which photograph, and crops in the wanted framing."""

import math
import re
import sys
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idn.data.crop_reader import CropReader
from idn.data.kept_index import open_index
from idn.data.packed import Runs
from idn.data.shards.reader import ShardedCrops, holds_shards
from idn.data.stable_draws import share_of
from idn.errors import OptionError
from idn.files.option_checks import require_number, require_one_of
from idn.files.photos import UnreadablePhoto, printable
from idn.geometry.head_pose import head_pose
from idn.geometry.templates import TEMPLATES

_LEAST = 2
"""Identities of either part: a pair takes two."""

_DATED = re.compile(r"(19|20)\d\d([-_. ]?(0[1-9]|1[0-2])([-_. ]?[0-3]\d)?)?([-_. ].*)?")
"""Names of folders that tell when their photographs were taken, not of whom."""
_PARTS = {
    "train",
    "val",
    "valid",
    "validation",
    "test",
    "images",
    "imgs",
    "photos",
    "pictures",
    "crops",
    "faces",
    "data",
}
"""Names of folders that tell what is in them, not who."""


class FaceFolder:
    """The photographs of a folder and their identities, read on demand.

    Identities are the folders right below the root, or, for a flat folder, every photograph is its own. Which of the
    two it is can be told with `layout` or found by looking: photographs right below the root mean flat; so do folders
    named like those of FFHQ (00000, 01000, ...), which hold a thousand people each. Folders named like dates or parts
    of a data set (2010, 2010-05-31, train, images) are most likely not persons: there it must be told.
    """

    def __init__(
        self,
        root: str,
        size: int,
        template: str,
        stored_template: str | None = None,
        layout: str = "auto",
        cache: bool = False,
    ) -> None:
        """Open the index of the folder, see `open_index`.

        root: a folder made by `idn align`, any folder of square crops, or a path or URL of what `idn shards` wrote.
        size, template: pixels and alignment template of the crops to deliver.
        stored_template: template of the crops on disk; None takes it from the manifest of `idn align`.
        layout: "auto", "flat" or "identities".
        cache: keep decoded crops in memory, size * size * 3 bytes each, separately in every loader process.
        Raises OptionError if the folder is missing, empty, of unclear layout, aligned to another template or to nobody
        knows which, and for unknown templates, as `open_index` does, too.
        """
        require_one_of("template", template, TEMPLATES)
        if stored_template is not None:
            require_one_of("stored_template", stored_template, TEMPLATES)
        self.size, self.template = size, template
        self.shards = ShardedCrops(root) if holds_shards(str(root)) else None
        self.root = Path(str(root)) if self.shards is None else self.shards.root
        if self.shards is None and not self.root.is_dir():
            raise OptionError("root", root, "is not a folder: give a folder of face crops made by `idn align`")
        self.index = open_index(self.root) if self.shards is None else self.shards.index
        self.names = self.index.names
        facts, folders = self.index.facts, self.index.people(flat=False)
        self.flat = _flat(self.root, facts.loose, len(self.names), folders, layout)
        self.identities: Mapping[str, Sequence[int]] = self.index.people(self.flat)
        self._stored = None if facts.settings is None else facts.settings.size
        noted = None if facts.settings is None else facts.settings.template
        self.stored_template = stored_framing(self.root, noted, stored_template)
        content = None if self.shards is None else self.shards.content
        self._reader = CropReader(self.root, size, template, self.stored_template, cache, content)
        self.unreadable = self._reader.unreadable
        """Name -> reason, of the pictures that could not be read so far."""

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.names)

    def split(self, part: str, holdout: float) -> Runs:
        """Photographs by identity, of those to train with ("train") or of those held out ("val").

        A hash of its name decides about each identity, so it stays where it is when others are added or removed.
        holdout: share of the identities to hold out, above 0; at least two are held out in any case.
        Raises OptionError if fewer than two identities remain to train with.
        """
        require_number("holdout", holdout, 0, 1)
        if part not in ("train", "val"):
            raise ValueError(f"part must be 'train' or 'val', got {part!r}")
        held = np.zeros(len(self.identities), bool)
        held[self._held_out(holdout)] = True
        return self.index.people(self.flat).runs.take(held if part == "val" else ~held)

    def held_out(self, holdout: float) -> set[str]:
        """Names of the identities that are held out, see `split`."""
        people = self.index.people(self.flat)
        return {people.name(place) for place in self._held_out(holdout).tolist()}

    def _held_out(self, holdout: float) -> np.ndarray:
        return _lowest(self.root, self.index.people_shares(self.flat), holdout)

    def summary(self, holdout: float) -> str:
        """What a run takes from the folder, in one line: pictures, identities, landmarks, what is left out and why."""
        held = len(self._held_out(holdout))
        asked = int((self.index.people_shares(self.flat) < holdout).sum())
        least = f" (the least; holdout={holdout} is {asked})" if asked < held else ""
        points = self.index.facts.known
        known = "all" if points == len(self.names) else str(points or "none")
        rest = self.index.facts.report()
        return printable(
            f"{self.root}: {len(self.names)} pictures of {len(self.identities)} identities, {held} held out{least}, "
            f"landmarks known of {known}; left out: {rest or 'none'}"
        )

    def read(self, index: int) -> Tensor:
        """One crop in the wanted framing, (3, size, size) uint8 RGB.

        Raises UnreadablePhoto for a damaged or not square file, after counting it in `unreadable` (name -> reason) and
        warning once.
        """
        return self._reader(self.names[index])

    def content(self, index: int) -> bytes:
        """What the file of a photograph holds. Raises OSError or FileError for what cannot be read."""
        name = self.names[index]
        return Path(self.root, name).read_bytes() if self.shards is None else self.shards.content(name)

    @property
    def knows_landmarks(self) -> bool:
        """Whether a manifest knows those of any photograph."""
        return self.index.facts.known > 0

    def landmarks(self, index: int) -> Tensor | None:
        """Five points, (5, 2) float64 in normalised coordinates of the delivered crop, if a manifest knows them."""
        points = self.index.landmarks[index]
        return None if points.isnan().any() else self._reader.points(points)

    def poses(self) -> Tensor:
        """Yaw and pitch of every photograph in degrees, (len, 2), see `head_pose`; NaN where no manifest tells them."""
        found = torch.full((len(self), 2), math.nan)
        known = ~self.index.landmarks.isnan().any((1, 2))
        if known.any():
            found[known] = head_pose(self.index.landmarks[known])
        return found

    def tell_if_small(self) -> None:
        """Say on stderr if the crops on disk have too few pixels, so that those to deliver are enlarged.

        Looks at the manifest or, without one, at the first picture. Whoever builds the loaders calls it once.
        """
        stored = self._stored or self._first_side()
        if stored is not None and stored < self._reader.enough():
            print(
                f"{self.root} holds crops of {stored} px, which are enlarged: {self.size} px aligned to "
                f"{self.template} need {self._reader.enough()}, as idn align size={self._reader.enough()} makes them",
                file=sys.stderr,
            )

    def _first_side(self) -> int | None:
        """Side of the first picture, if that can be read."""
        try:
            return self._reader.stored(self.names[0]).shape[-1]
        except UnreadablePhoto:
            return None


def hold_out(root: Path | str, identities: Collection[str], holdout: float) -> set[str]:
    """Names of those identities in a folder that are held out: a hash of the name decides, but two at least.

    Raises OptionError if fewer than two remain to train with, and for a holdout of 0.
    """
    names = sorted(identities)
    return {names[place] for place in _lowest(root, np.array([share_of(name) for name in names]), holdout).tolist()}


def _lowest(root: Path | str, shares: np.ndarray, holdout: float) -> np.ndarray:
    """Places of the identities, in order of their names, that are held out, see `hold_out`. shares: of all of them."""
    if holdout == 0:
        raise OptionError(
            "holdout", holdout, "leaves nobody to validate with: give a share of the identities, such as 0.05"
        )
    count = len(shares)
    if count < 2 * _LEAST:
        wanted = f"holds {count} {'identity' if count == 1 else 'identities'}, and four are needed: two to train with "
        raise OptionError("root", root, f"{wanted}and two to validate with: add people")
    order = np.argsort(shares, kind="stable")
    held = max(_LEAST, bisect_left(shares[order], holdout))
    if count - held < _LEAST:
        wanted = f"leaves {count - held} of the {count} identities in {root} to train with, and two are needed"
        most = math.floor(float(shares[order[-_LEAST]]) * 100) / 100
        raise OptionError("holdout", holdout, f"{wanted}: give {most:.2f}")
    return order[:held]


def stored_framing(root: Path | str, noted: str | None, given: str | None, maker: str = "idn align") -> str:
    """Alignment template of the crops in a folder: the one that its manifest or, without one, the user says.

    noted: what the manifest of the verb `maker` says.
    Raises OptionError if they disagree or nobody says it.
    """
    if noted is not None:
        if given not in (None, noted):
            wanted = f"contradicts {root}, which was aligned to {noted}: give that, or leave it out"
            raise OptionError("stored_template", given, wanted)
        return noted
    if given is None:
        raise OptionError(
            "stored_template",
            given,
            f"must say how the faces of {root}, which was not made by {maker}, are aligned: give one of "
            f"{', '.join(sorted(TEMPLATES))}, or run {maker} on it",
        )
    return given


def is_flat(root: Path, names: Sequence[str], layout: str) -> bool:
    """Whether every photograph is its own identity."""
    folders = sorted({name.split("/", 1)[0] for name in names})
    return _flat(root, sum("/" not in name for name in names), len(names), folders, layout)


def _flat(root: Path | str, loose: int, count: int, folders: Collection[str], layout: str) -> bool:
    """The same. loose: how many of `count` photographs lie in no folder. folders: names of the others, in order."""
    require_one_of("layout", layout, ("auto", "flat", "identities"))
    if layout in ("flat", "identities"):
        if layout == "identities" and loose:
            wanted = "has pictures outside of its folders: move each into the folder of its person"
            raise OptionError("root", root, wanted)
        return layout == "flat"
    if 0 < loose < count:
        raise OptionError(
            "layout", layout, f"is not clear, {root} has pictures beside folders: give flat or identities"
        )
    if loose == 0 and all(_DATED.fullmatch(folder) or folder.lower() in _PARTS for folder in folders):
        wanted = f"is not clear, the folders of {root} ({', '.join(islice(folders, 3))}) are not named like persons"
        raise OptionError("layout", layout, f"{wanted}: give identities if each holds one person, or flat")
    return loose > 0 or all(len(f) == 5 and f.isdecimal() and f.endswith("000") for f in folders)
