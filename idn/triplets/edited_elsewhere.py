"""Triplets of pictures that an editing model made: pairs by their names, measured, and left out where they are bad."""

from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from idn.data.alignment.align import crop_names
from idn.data.fstriplets.layout import EDITED, ORIGINAL, PAIRED, partner
from idn.data.fstriplets.manifest import Triplet
from idn.data.regions import LandmarkRegions
from idn.errors import FileError
from idn.files.option_checks import require_number, require_one_of
from idn.files.photos import UnreadablePhoto, decode_photo
from idn.images import from_uint8
from idn.triplets.photographs import FaceSource, NoFace
from idn.triplets.pictures import CHANGED_ELSEWHERE, encode
from idn.triplets.work import Made, rounded
from idn.types import IdentityEncoder

_FOLDERS = ("original", "edited")


class EditedElsewhere:
    """One job per original. Partners are x.original.png and x.edited.png in one folder, or x.png in two folders named
    original and edited, in any format.

    The class of a pair is the folder that holds it, or holds those two.
    """

    photographs = True

    def __init__(
        self,
        faces: FaceSource,
        encoder: IdentityEncoder,
        kind: str = "target_as_gt",
        least_identity: float | None = 0.4,
        largest_change: float | None = 0.04,
    ) -> None:
        """faces: of the folder; both pictures of a pair are cut as the original's face lies.

        encoder: says whether they show one person.
        kind: "source_as_gt" for edits of who it is, "target_as_gt" for all others.
        least_identity: cosine of the two below which a pair is left out; None for none.
        largest_change: mean difference in [0, 1] outside of the face above which it is; None for none.
        Raises FileError if there are no pairs, OptionError for numbers that cannot be.
        """
        require_one_of("kind", kind, PAIRED)
        for argument, value in {"least_identity": least_identity, "largest_change": largest_change}.items():
            if value is not None:
                require_number(argument, value, -1 if argument == "least_identity" else 0, 1)
        if faces.crops is not None:
            raise FileError(faces.root, "holds crops of idn align: give originals with their edited versions")
        self.faces, self.encoder, self.kind = faces, encoder, kind
        self.least_identity, self.largest_change = least_identity, largest_change
        self.regions = LandmarkRegions(faces.template)
        self.originals, self.partners, self.alone = _pairs(faces.names)
        if not self.partners:
            wanted = f"holds no pair among {len(faces.names)} pictures: name them x{ORIGINAL}png and x{EDITED}png"
            raise FileError(faces.root, f"{wanted}, or put them into folders {' and '.join(_FOLDERS)}")
        self.stems = crop_names([_stem(name) for name in self.originals], {}, ".png")

    def jobs(self) -> list[str]:
        """One per original, with or without a partner, and per edited picture without one."""
        return [f"pair {name}" for name in [*self.originals, *self.alone]]

    def facts(self) -> dict[str, Any]:
        """See Work."""
        return {
            "edited.src": str(self.faces.root.resolve()),
            "edited.kind": self.kind,
            "edited.least_identity": self.least_identity,
            "edited.largest_change": self.largest_change,
            "edited.encoder": self.encoder.name,
        }

    def make(self, job: int) -> Made:
        """Measure a pair."""
        if job >= len(self.originals) or self.originals[job] not in self.partners:
            return Made("no_partner", "its other version is not there")
        name = self.originals[job]
        try:
            before, _ = decode_photo(self.faces.root / name)
            after, _ = decode_photo(self.faces.root / self.partners[name])
        except UnreadablePhoto as error:
            return Made("unreadable", str(error))
        if before.shape != after.shape:
            sizes = " and ".join(f"{x.shape[2]}x{x.shape[1]}" for x in (before, after))
            return Made("sizes_differ", f"original and edited have {sizes} pixels")
        try:
            crop, edited = self.faces.cut_alike(before, after)
        except NoFace as error:
            return Made(error.status, str(error))
        return self._judged(name, crop.pixels, edited.pixels, crop.points)

    @torch.no_grad()
    def _judged(self, name: str, before: Tensor, after: Tensor, points: Tensor) -> Made:
        """Both crops for the class of the pair, or why they are left out."""
        images = from_uint8(torch.stack([before, after]))
        first, second = self.encoder(images).embedding
        identity = float(first @ second)
        outside = self.regions(images[:1], points[None])[0, 0] == 0
        change = float((images[1] - images[0]).abs().mean(0)[outside].mean())
        if torch.equal(before, after):
            return Made("unchanged", "original and edited are the same picture")
        if self.least_identity is not None and identity < self.least_identity:
            return Made("another_person", f"identity {identity:.2f}, least_identity={self.least_identity}")
        if self.largest_change is not None and change > self.largest_change:
            said = f"{change:.3f} of change outside of the face, largest_change={self.largest_change}"
            return Made("changed_outside", said)
        stem = self.stems[_stem(name)].removesuffix(".png")
        inner = PurePosixPath(stem)
        folder = f"{self.kind}/{inner.parent.name or 'edited'}"
        names = [f"{folder}/{inner.name}.{version}.png" for version in _FOLDERS]
        made = Made(landmarks={one: rounded(points) for one in names})
        made.files = {names[0]: encode(before, None), names[1]: encode(after, CHANGED_ELSEWHERE)}
        measured = {"identity": round(identity, 4), "change_outside": round(change, 5)}
        result = names[0] if self.kind == "source_as_gt" else names[1]
        made.triplets = [Triplet(folder, "elsewhere", 0, measured, names[0], names[1], result)]
        return made


def _pairs(names: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Originals, the edited version of each that has one, and edited pictures without an original."""
    versions: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for name in names:
        path = PurePosixPath(name)
        if partner(name) is not None:
            version = int(ORIGINAL not in path.name)
        elif place := next((part for part in path.parts[:-1] if part in _FOLDERS), None):
            version = _FOLDERS.index(place)
        else:
            continue
        versions[version][PurePosixPath(_stem(name)).with_suffix("").as_posix()] = name
    originals, edited = versions
    partners = {name: edited[key] for key, name in originals.items() if key in edited}
    return list(originals.values()), partners, [name for key, name in edited.items() if key not in originals]


def _stem(name: str) -> str:
    """Path of a picture without what tells the versions of a pair apart."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts[:-1] if part not in _FOLDERS]
    return str(PurePosixPath(*parts, path.name.replace(ORIGINAL, ".").replace(EDITED, ".")))
