"""Folder of face crops on disk: what it holds, who is on which photograph, and crops in the wanted framing."""

import hashlib
import math
import sys
import warnings
from collections import defaultdict
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.data.alignment.manifest import Record, Settings, read_manifest
from idn.errors import OptionError
from idn.files.option_checks import require_number, require_one_of
from idn.files.photos import UnreadablePhoto, list_photos, photo_size, read_photo
from idn.geometry import TEMPLATES, between_templates, realign, transform_points
from idn.images import from_uint8, resize, to_uint8

_LEAST_SPREAD = 0.01
"""Of landmarks about their mean, as a share of the crop: from closer ones nothing can be said about the face."""

_PROBES = 20
"""Pictures whose sizes are looked at before any is used."""


class FaceFolder:
    """The photographs of a folder and their identities, read on demand.

    Identities are the folders right below the root, or, for a flat folder, every photograph is its own. Which of the
    two it is can be told with `layout` or found by looking: photographs right below the root mean flat; so do folders
    named like those of FFHQ (00000, 01000, ...), which hold a thousand people each.
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
        """Look through the folder, and at the sizes of some pictures unless `idn align` made them.

        root: a folder made by `idn align`, or any folder of square crops.
        size, template: pixels and alignment template of the crops to deliver.
        stored_template: template of the crops on disk; None takes it from the manifest of `idn align`.
        layout: "auto", "flat" or "identities".
        cache: keep decoded crops in memory, size * size * 3 bytes each, separately in every loader process.
        Raises OptionError if the folder is missing, empty, of unclear layout, aligned to another template or to nobody
        knows which, if most pictures are not square, and for unknown templates.
        """
        require_one_of("template", template, TEMPLATES)
        if stored_template is not None:
            require_one_of("stored_template", stored_template, TEMPLATES)
        self.root, self.size, self.template = Path(str(root)), size, template
        if not self.root.is_dir():
            raise OptionError("root", root, "is not a folder: give a folder of face crops made by `idn align`")
        self.names = list_photos(self.root)
        if not self.names:
            raise OptionError("root", root, "holds no pictures: give a folder of face crops made by `idn align`")
        self.flat = _is_flat(self.root, self.names, layout)
        self.identities = _identities(self.names, self.flat)
        self.unreadable: dict[str, str] = {}
        self._cache: dict[int, Tensor] | None = {} if cache else None
        settings, records = read_manifest(self.root)
        self._stored = None if settings is None else settings.size
        self._landmarks = _known_landmarks(records)
        self.stored_template = self._framing(settings, stored_template)

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.names)

    def split(self, part: str, holdout: float) -> list[list[int]]:
        """Photographs by identity, of those to train with ("train") or of those held out ("val").

        A hash of its name decides about each identity, so it stays where it is when others are added or removed.
        holdout: share of the identities to hold out. Raises OptionError if fewer than two identities remain.
        """
        require_number("holdout", holdout, 0, 1)
        if part not in ("train", "val"):
            raise ValueError(f"part must be 'train' or 'val', got {part!r}")
        chosen = [
            photos for name, photos in sorted(self.identities.items()) if (_share(name) < holdout) == (part == "val")
        ]
        if len(chosen) < 2:
            what = "to hold out" if part == "val" else "to train with"
            wanted = f"leaves {len(chosen)} of the {len(self.identities)} identities in {self.root} {what}"
            raise OptionError(
                "holdout", holdout, f"{wanted}, and two are needed: add people{self._other_holdout(part)}"
            )
        return chosen

    def _other_holdout(self, part: str) -> str:
        """Which share would leave two identities to a part, if there are two for either."""
        shares = sorted(map(_share, self.identities))
        if len(shares) < 4:
            return ""
        wanted = math.floor(shares[1] * 100 + 1) if part == "val" else math.floor(shares[-2] * 100)
        return f", or give {wanted / 100:.2f}"

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
                warnings.warn(f"{self.root / name} is left out: {error}", stacklevel=2)
            raise
        crop = self._framed(pixels)
        if self._cache is not None:
            self._cache[index] = crop
        return crop

    def landmarks(self, index: int) -> Tensor | None:
        """Five points, (5, 2) float64 in normalised coordinates of the delivered crop, if a manifest knows them."""
        points = self._landmarks.get(self.names[index])
        if points is None:
            return None
        return transform_points(points.double(), between_templates(self.stored_template, self.template))

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

        Raises OptionError if they disagree or nobody says it, and for pictures that nobody cropped.
        """
        if settings is not None:
            if given not in (None, settings.template):
                wanted = (
                    f"contradicts {self.root}, which was aligned to {settings.template}: give that, or leave it out"
                )
                raise OptionError("stored_template", given, wanted)
            return settings.template
        self._check_square()
        if given is None:
            raise OptionError(
                "stored_template",
                given,
                f"must say how the faces of {self.root}, which was not made by idn align, are aligned: give one of "
                f"{', '.join(sorted(TEMPLATES))}, or run idn align on it",
            )
        return given

    def _check_square(self) -> None:
        """Raise OptionError if most of some pictures from all over the folder are not square."""
        sizes = {name: photo_size(self.root / name) for name in self.names[:: math.ceil(len(self.names) / _PROBES)]}
        known = {name: size for name, size in sizes.items() if size is not None}
        odd = [name for name, (width, height) in known.items() if width != height]
        if 2 * len(odd) > len(known):
            width, height = known[odd[0]]
            wanted = f"holds pictures that are not square, such as {odd[0]} with {width}x{height} pixels"
            raise OptionError("root", self.root, f"{wanted}: run idn align on it and give the crops instead")

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
        path = PurePosixPath(name)
        found[str(path.with_suffix("")) if flat else path.parts[0]].append(index)
    return found


def _known_landmarks(records: list[Record]) -> dict[str, Tensor]:
    """Crop -> landmarks, (5, 2), of those that tell where the face is and are not all in one place."""
    known = {r.crop: torch.tensor(r.landmarks) for r in records if r.crop is not None and r.landmarks is not None}
    return {crop: points for crop, points in known.items() if (points - points.mean(0)).abs().amax() > _LEAST_SPREAD}


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
            "layout", layout, f"is not clear: {root} has pictures beside folders, give flat or identities"
        )
    folders = {name.split("/", 1)[0] for name in names}
    return loose > 0 or all(len(f) == 5 and f.isdecimal() and f.endswith("000") for f in folders)


def _share(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
