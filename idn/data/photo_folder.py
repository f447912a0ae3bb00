"""Folder of face crops on disk: what it holds, who is on which photograph, and crops in the wanted framing."""

import hashlib
import math
import re
import sys
import warnings
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.data.alignment.manifest import Record, Settings
from idn.data.folder_scan import scan_crops
from idn.errors import OptionError
from idn.files.option_checks import require_number, require_one_of
from idn.files.photos import SUFFIXES, UnreadablePhoto, printable, read_photo
from idn.geometry.affine import transform_points
from idn.geometry.head_pose import head_pose
from idn.geometry.templates import TEMPLATES, between_templates
from idn.geometry.warping import realign
from idn.images import from_uint8, resize, to_uint8

_LEAST_SPREAD = 0.01
"""Of landmarks about their mean, as a share of the crop: from closer ones nothing can be said about the face."""

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
        """Look through the folder, see `scan_crops`.

        root: a folder made by `idn align`, or any folder of square crops.
        size, template: pixels and alignment template of the crops to deliver.
        stored_template: template of the crops on disk; None takes it from the manifest of `idn align`.
        layout: "auto", "flat" or "identities".
        cache: keep decoded crops in memory, size * size * 3 bytes each, separately in every loader process.
        Raises OptionError if the folder is missing, empty, of unclear layout, aligned to another template or to nobody
        knows which, and for unknown templates, as `scan_crops` does, too.
        """
        require_one_of("template", template, TEMPLATES)
        if stored_template is not None:
            require_one_of("stored_template", stored_template, TEMPLATES)
        self.root, self.size, self.template = Path(str(root)), size, template
        if not self.root.is_dir():
            raise OptionError("root", root, "is not a folder: give a folder of face crops made by `idn align`")
        self.scan = scan_crops(self.root)
        self.names = self.scan.names
        self.flat = _is_flat(self.root, self.names, layout)
        self.identities = _identities(self.names, self.flat)
        self.unreadable: dict[str, str] = {}
        self._cache: dict[int, Tensor] | None = {} if cache else None
        self._stored = None if self.scan.settings is None else self.scan.settings.size
        self._landmarks = _known_landmarks(self.scan.records)
        self.stored_template = self._framing(self.scan.settings, stored_template)

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.names)

    def split(self, part: str, holdout: float) -> list[list[int]]:
        """Photographs by identity, of those to train with ("train") or of those held out ("val").

        A hash of its name decides about each identity, so it stays where it is when others are added or removed.
        holdout: share of the identities to hold out, above 0; at least two are held out in any case.
        Raises OptionError if fewer than two identities remain to train with.
        """
        require_number("holdout", holdout, 0, 1)
        if part not in ("train", "val"):
            raise ValueError(f"part must be 'train' or 'val', got {part!r}")
        held = self.held_out(holdout)
        return [photos for name, photos in sorted(self.identities.items()) if (name in held) == (part == "val")]

    def held_out(self, holdout: float) -> set[str]:
        """Names of the identities that are held out, see `split`."""
        if holdout == 0:
            raise OptionError(
                "holdout", holdout, "leaves nobody to validate with: give a share of the identities, such as 0.05"
            )
        count = len(self.identities)
        if count < 2 * _LEAST:
            wanted = (
                f"holds {count} {'identity' if count == 1 else 'identities'}, and four are needed: two to train with "
            )
            raise OptionError("root", self.root, f"{wanted}and two to validate with: add people")
        order = sorted(self.identities, key=lambda name: (_share(name), name))
        shares = [_share(name) for name in order]
        held = max(_LEAST, bisect_left(shares, holdout))
        if count - held < _LEAST:
            wanted = f"leaves {count - held} of the {count} identities in {self.root} to train with, and two are needed"
            raise OptionError("holdout", holdout, f"{wanted}: give {math.floor(shares[-_LEAST] * 100) / 100:.2f}")
        return set(order[:held])

    def summary(self, holdout: float) -> str:
        """What a run takes from the folder, in one line: pictures, identities, landmarks, what is left out and why."""
        held, asked = len(self.held_out(holdout)), sum(_share(name) < holdout for name in self.identities)
        least = f" (the least; holdout={holdout} is {asked})" if asked < held else ""
        points = sum(name in self._landmarks for name in self.names)
        known = "all" if points == len(self.names) else str(points or "none")
        rest = self.scan.report()
        return printable(
            f"{self.root}: {len(self.names)} pictures of {len(self.identities)} identities, {held} held out{least}, "
            f"landmarks known of {known}; left out: {rest or 'none'}"
        )

    def read(self, index: int) -> Tensor:
        """One crop in the wanted framing, (3, size, size) uint8 RGB.

        Raises UnreadablePhoto for a damaged or not square file, after counting it in `unreadable` (name -> reason) and
        warning once.
        """
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        name = self.names[index]
        try:
            pixels = read_photo(self.root / name)
            if pixels.shape[1] != pixels.shape[2]:
                raise UnreadablePhoto(f"{pixels.shape[2]}x{pixels.shape[1]} pixels: crops must be square")
        except UnreadablePhoto as error:
            if name not in self.unreadable:
                self.unreadable[name] = str(error)
                warnings.warn(printable(f"{self.root / name} is left out: {error}"), stacklevel=2)
            raise
        crop = self._framed(pixels)
        if self._cache is not None:
            self._cache[index] = crop
        return crop

    @property
    def knows_landmarks(self) -> bool:
        """Whether a manifest knows those of any photograph."""
        return bool(self._landmarks)

    def landmarks(self, index: int) -> Tensor | None:
        """Five points, (5, 2) float64 in normalised coordinates of the delivered crop, if a manifest knows them."""
        points = self._landmarks.get(self.names[index])
        if points is None:
            return None
        return transform_points(points.double(), between_templates(self.stored_template, self.template))

    def poses(self) -> Tensor:
        """Yaw and pitch of every photograph in degrees, (len, 2), see `head_pose`; NaN where no manifest tells them."""
        found = torch.full((len(self), 2), math.nan)
        known = [number for number, name in enumerate(self.names) if name in self._landmarks]
        if known:
            found[known] = head_pose(torch.stack([self._landmarks[self.names[number]] for number in known]))
        return found

    def _framed(self, pixels: Tensor) -> Tensor:
        """Stored crop -> delivered crop; reduced before the warp where that would skip pixels."""
        if self.stored_template == self.template and pixels.shape[1] == self.size:
            return pixels
        crop = from_uint8(pixels[None])
        if self.stored_template != self.template:
            crop = resize(crop, min(crop.shape[-1], self._enough()))
        return to_uint8(realign(crop, self.stored_template, self.template, self.size))[0]

    def _enough(self) -> int:
        """Side of a stored crop that shows the face in as many pixels as the delivered one."""
        zoom = float(between_templates(self.stored_template, self.template)[:, :2].det().sqrt())
        return math.ceil(round(self.size * zoom, 6))

    def _framing(self, settings: Settings | None, given: str | None) -> str:
        """Alignment template of the crops on disk: the one that the manifest or, without one, the user says.

        Raises OptionError if they disagree or nobody says it.
        """
        if settings is not None:
            if given not in (None, settings.template):
                wanted = (
                    f"contradicts {self.root}, which was aligned to {settings.template}: give that, or leave it out"
                )
                raise OptionError("stored_template", given, wanted)
            return settings.template
        if given is None:
            raise OptionError(
                "stored_template",
                given,
                f"must say how the faces of {self.root}, which was not made by idn align, are aligned: give one of "
                f"{', '.join(sorted(TEMPLATES))}, or run idn align on it",
            )
        return given

    def tell_if_small(self) -> None:
        """Say on stderr if the crops on disk have too few pixels, so that those to deliver are enlarged.

        Looks at the manifest or, without one, at the first picture. Whoever builds the loaders calls it once.
        """
        stored = self._stored or self._first_side()
        if stored is not None and stored < self._enough():
            print(
                f"{self.root} holds crops of {stored} px, which are enlarged: {self.size} px aligned to "
                f"{self.template} need {self._enough()}, as idn align size={self._enough()} makes them",
                file=sys.stderr,
            )

    def _first_side(self) -> int | None:
        """Side of the first picture, if that can be read."""
        try:
            return read_photo(self.root / self.names[0]).shape[-1]
        except UnreadablePhoto:
            return None


def _identities(names: list[str], flat: bool) -> dict[str, list[int]]:
    """Which of the photographs, by number, show each identity."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        found[name if flat else PurePosixPath(name).parts[0]].append(index)
    return found


def _known_landmarks(records: dict[str, Record]) -> dict[str, Tensor]:
    """Name -> landmarks, (5, 2), of those that tell where the face is and are not all in one place."""
    known = {name: torch.tensor(r.landmarks) for name, r in records.items() if r.landmarks}
    return {name: points for name, points in known.items() if (points - points.mean(0)).abs().amax() > _LEAST_SPREAD}


def _is_flat(root: Path, names: list[str], layout: str) -> bool:
    """Whether every photograph is its own identity."""
    require_one_of("layout", layout, ("auto", "flat", "identities"))
    if layout in ("flat", "identities"):
        if layout == "identities" and any("/" not in name for name in names):
            wanted = "has pictures outside of its folders: move each into the folder of its person"
            raise OptionError("root", root, wanted)
        return layout == "flat"
    loose = sum("/" not in name for name in names)
    if 0 < loose < len(names):
        raise OptionError(
            "layout", layout, f"is not clear, {root} has pictures beside folders: give flat or identities"
        )
    folders = sorted({name.split("/", 1)[0] for name in names})
    if loose == 0 and all(_DATED.fullmatch(folder) or folder.lower() in _PARTS for folder in folders):
        wanted = f"is not clear, the folders of {root} ({', '.join(folders[:3])}) are not named like persons"
        raise OptionError("layout", layout, f"{wanted}: give identities if each holds one person, or flat")
    return loose > 0 or all(len(f) == 5 and f.isdecimal() and f.endswith("000") for f in folders)


def _share(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name of an identity, without the ending of a picture.

    So a picture in two formats is on one side in either.
    """
    stem = name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in SUFFIXES else name
    return int.from_bytes(hashlib.blake2b(stem.encode("utf-8", "surrogateescape"), digest_size=8).digest()) / 2**64
