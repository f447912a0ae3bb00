"""Aligned face crops on disk: what a folder holds, who is on which photograph, and crops in the wanted framing."""

import hashlib
import math
import warnings
from collections import defaultdict
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.data.manifest import read_manifest
from idn.data.photos import UnreadablePhoto, list_photos, read_photo
from idn.errors import UserError
from idn.geometry import TEMPLATES, between_templates, reframe, transform_points
from idn.images import from_uint8, resize, to_uint8


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
        frame: str,
        stored_frame: str = "ffhq",
        layout: str = "auto",
        cache: bool = False,
    ) -> None:
        """Look through the folder; no picture is opened.

        root: a folder made by `idn align`, or any folder of square crops. size, frame: pixels and alignment template of
        the crops to deliver. stored_frame: template of the crops on disk. layout: "auto", "flat" or "identities".
        cache: keep decoded crops in memory, size * size * 3 bytes each, separately in every loader process.
        Raises UserError if the folder is missing, empty, of unclear layout or aligned to another template, and for
        unknown templates.
        """
        for option, name in (("frame", frame), ("stored_frame", stored_frame)):
            if name not in TEMPLATES:
                raise UserError(f"data.{option}={name} is unknown: choose one of {', '.join(sorted(TEMPLATES))}")
        self.root, self.size, self.frame, self.stored_frame = Path(root), size, frame, stored_frame
        if not self.root.is_dir():
            raise UserError(f"data.root={root} is not a folder: give a folder of face crops made by `idn align`")
        self.names = list_photos(self.root)
        if not self.names:
            raise UserError(f"data.root={root} holds no pictures: give a folder of face crops made by `idn align`")
        self.flat = _is_flat(self.root, self.names, layout)
        self.identities: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(self.names):
            path = PurePosixPath(name)
            self.identities[str(path.with_suffix("")) if self.flat else path.parts[0]].append(index)
        self.unreadable: dict[str, str] = {}
        self._landmarks = self._known_landmarks()
        self._cache: dict[int, Tensor] | None = {} if cache else None

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.names)

    def split(self, part: str, holdout: float) -> list[list[int]]:
        """Photographs by identity, of those to train with ("train") or of those held out ("val").

        A hash of its name decides about each identity, so it stays where it is when others are added or removed.
        holdout: share of the identities to hold out. Raises UserError if fewer than two identities remain.
        """
        if part not in ("train", "val"):
            raise ValueError(f"part must be 'train' or 'val', got {part!r}")
        chosen = [
            photos for name, photos in sorted(self.identities.items()) if (_share(name) < holdout) == (part == "val")
        ]
        if len(chosen) < 2:
            what = "held out" if part == "val" else "left to train with"
            raise UserError(
                f"{self.root}: {len(chosen)} of {len(self.identities)} identities {what} at holdout={holdout}, and two "
                "are needed: add people, or change data.holdout"
            )
        return chosen

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
        return transform_points(points.double(), between_templates(self.stored_frame, self.frame))

    def _framed(self, pixels: Tensor) -> Tensor:
        """Stored crop -> delivered crop; reduced before the warp where that would skip pixels."""
        if self.stored_frame == self.frame and pixels.shape[1] == self.size:
            return pixels
        crop = from_uint8(pixels[None])
        if self.stored_frame != self.frame:
            zoom = float(between_templates(self.stored_frame, self.frame)[:, :2].det().sqrt())
            crop = resize(crop, min(crop.shape[-1], math.ceil(self.size * zoom)))
        return to_uint8(reframe(crop, self.stored_frame, self.frame, self.size))[0]

    def _known_landmarks(self) -> dict[str, Tensor]:
        """Crop -> landmarks from the manifest, if there is one. Raises UserError if it names another template."""
        settings, records = read_manifest(self.root)
        if settings is not None and settings.frame != self.stored_frame:
            raise UserError(
                f"{self.root} was aligned to frame={settings.frame}, not {self.stored_frame}: "
                f"set data.stored_frame={settings.frame}"
            )
        return {r.crop: torch.tensor(r.landmarks) for r in records if r.crop is not None and r.landmarks is not None}


def _is_flat(root: Path, names: list[str], layout: str) -> bool:
    """Whether every photograph is its own identity."""
    if layout in ("flat", "identities"):
        if layout == "identities" and any("/" not in name for name in names):
            raise UserError(f"{root} has pictures outside of its folders: move them, or set data.layout=flat")
        return layout == "flat"
    if layout != "auto":
        raise UserError(f"data.layout={layout} must be auto, flat or identities")
    loose = sum("/" not in name for name in names)
    if 0 < loose < len(names):
        raise UserError(f"{root} holds pictures both beside and inside folders: set data.layout=flat or identities")
    folders = {name.split("/", 1)[0] for name in names}
    return loose > 0 or all(len(f) == 5 and f.isdecimal() and f.endswith("000") for f in folders)


def _share(name: str) -> float:
    """A number in [0, 1) that depends on nothing but the name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
