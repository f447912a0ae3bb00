"""Triplets of photographs: crops of them, and edits whose result is known."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from idn.data.alignment.align import crop_names
from idn.data.alignment.crop import UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector
from idn.data.alignment.detector import Face as DetectedFace
from idn.data.alignment.manifest import read_manifest
from idn.data.fstriplets.layout import EDITED_TARGET, VANILLA
from idn.data.fstriplets.manifest import Triplet
from idn.data.photo_folder import FaceFolder, is_flat
from idn.data.stable_draws import seed_of
from idn.errors import OptionError
from idn.files.option_checks import require_int
from idn.files.photos import UnreadablePhoto, decode_photo, left_out, list_photos, printable
from idn.images import from_uint8
from idn.triplets.edit import IDENTITY, Edit, Edited, Unsuitable, chance
from idn.triplets.face import Face
from idn.triplets.pictures import CHANGED, encode, encode_region
from idn.triplets.work import Made, rounded


class DenseLandmarks(Protocol):
    """Finds 68 landmarks."""

    def __call__(self, images: Tensor, points: Tensor) -> Tensor:
        """images: (N, 3, S, S); points: (N, 5, 2), roughly. Returns (N, 68, 2) in normalised coordinates."""
        ...


class NoFace(Exception):
    """A photograph that shows no usable face; `status` says why in a word, the message in words."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Crop(NamedTuple):
    """One face."""

    pixels: Tensor
    """(3, S, S) uint8."""
    points: Tensor
    """(5, 2) float64 in normalised coordinates."""


class FaceSource:
    """Faces of a folder, by number: crops of `idn align`, whose manifest knows landmarks, or photographs."""

    def __init__(
        self, src: str, size: int, template: str, detector: Detector | None, min_face: float, layout: str
    ) -> None:
        """detector: finds faces in photographs; crops with a manifest need none.

        min_face: shorter side in pixels below which a face in a photograph is left out.
        layout: "flat", "identities" or "auto", see FaceFolder.
        Raises UserError for a folder that cannot be used, and without a detector where one is needed.
        """
        self.root, self.size, self.template = Path(str(src)), size, template
        self.detector, self.min_face = detector, min_face
        if not self.root.is_dir():
            raise OptionError("src", src, "is not a folder: give one of photographs, or of crops by `idn align`")
        self.crops = FaceFolder(src, size, template, layout=layout) if read_manifest(self.root)[0] else None
        if self.crops is not None:
            self.names, self.flat = self.crops.names, self.crops.flat
            return
        found = list_photos(self.root)
        if not found.names:
            there = f", but {', '.join(left_out(found))}" if left_out(found) else ""
            raise OptionError("src", src, printable(f"holds no photographs{there}: check the path"))
        self.names, self.flat = found.names, is_flat(self.root, found.names, layout)

    def __call__(self, number: int) -> Crop:
        """One face. Raises NoFace."""
        try:
            if self.crops is not None:
                points = self.crops.landmarks(number)
                if points is None:
                    raise NoFace("no_face", "the manifest knows no landmarks of it")
                return Crop(self.crops.read(number), points)
            photo, _ = decode_photo(self.root / self.names[number])
        except UnreadablePhoto as error:
            raise NoFace("unreadable", str(error)) from error
        return self.cut_alike(photo)[0]

    def cut_alike(self, photo: Tensor, *others: Tensor) -> list[Crop]:
        """The largest face of a photograph, (3, H, W) uint8, and what others show in its place. Raises NoFace."""
        points = self._largest(photo).landmarks
        try:
            crops = [cut_crop(picture, points, self.template, self.size) for picture in (photo, *others)]
        except UnusableLandmarks as error:
            raise NoFace("no_face", str(error)) from error
        return [Crop(crop.image, crop.landmarks) for crop in crops]

    def _largest(self, photo: Tensor) -> DetectedFace:
        """The largest face, if it is large enough. Raises NoFace."""
        faces = self.detector(photo)
        if not faces:
            raise NoFace("no_face", "no face was found")
        if faces[0].size < self.min_face:
            raise NoFace("small", f"the largest face has {faces[0].size:.0f} px, min_face={self.min_face}")
        return faces[0]


class Photographs:
    """One job per photograph: its crop for `vanilla`, and some edits of it, each drawn from the photograph's seed."""

    photographs = True

    def __init__(
        self,
        faces: FaceSource,
        edits: Mapping[str, Edit],
        seed: int,
        landmarks: DenseLandmarks | None = None,
        per_photograph: int = 2,
    ) -> None:
        """edits: by the name of the class that they make.

        landmarks: finds 68 of them; without it, edits that need them are not made.
        per_photograph: how many different edits are made of each, as far as they fit it.
        Raises OptionError for a number that cannot be, and if there are no edits.
        """
        require_int("per_photograph", per_photograph, 0)
        usable = {name: edit for name, edit in edits.items() if landmarks is not None or not edit.dense}
        if not usable and per_photograph:
            raise OptionError("edits", list(edits), "leave none to make: choose some, or per_photograph=0")
        self.faces, self.edits, self.seed, self.landmarks = faces, usable, seed, landmarks
        self.per_photograph = per_photograph
        names = crop_names(faces.names, {}, ".png")
        self.stems = [names[name].removesuffix(".png") for name in faces.names]
        self.people: dict[str, list[str]] = defaultdict(list)
        for stem in self.stems:
            self.people[PurePosixPath(stem).parts[0]].append(stem)

    def jobs(self) -> list[str]:
        """One per photograph."""
        return [f"photograph {name}" for name in self.faces.names]

    def facts(self) -> dict[str, Any]:
        """See Work. More photographs do not change those that were there."""
        detector = None if self.faces.crops is not None else getattr(self.faces.detector, "settings", None)
        return {
            "src": str(self.faces.root.resolve()),
            "per_photograph": self.per_photograph,
            "edits": {name: edit.settings() for name, edit in sorted(self.edits.items())},
            "detector": detector,
            "min_face": self.faces.min_face,
        }

    def make(self, job: int) -> Made:
        """Crop one and edit it."""
        try:
            crop = self.faces(job)
        except NoFace as error:
            return Made(error.status, str(error))
        made, stem = Made(), self.stems[job]
        plain = f"{VANILLA}/{stem}.png"
        made.files[plain] = encode(crop.pixels, None)
        made.landmarks[plain] = rounded(crop.points)
        dense = None
        if self.landmarks is not None:
            dense = self.landmarks(from_uint8(crop.pixels[None]), crop.points[None].float())[0]
        face = Face(crop.pixels, crop.points, dense)
        if self._several(job):
            made.links[f"{EDITED_TARGET}/original/{stem}.png"] = plain
        order = torch.Generator().manual_seed(seed_of(f"triplets/{self.seed}/{self.faces.names[job]}"))
        names = sorted(self.edits)
        for number in torch.randperm(len(names), generator=order).tolist():
            if len(made.triplets) == self.per_photograph:
                break
            self._edit(made, job, names[number], face, plain)
        return made

    def _edit(self, made: Made, job: int, name: str, face: Face, plain: str) -> None:
        """Add one edit, or why it cannot be made."""
        edit, seed = self.edits[name], seed_of(f"triplets/{self.seed}/{self.faces.names[job]}/{name}")
        draw = torch.Generator().manual_seed(seed)
        to_set = edit.makes == IDENTITY and self._several(job) and chance(0.5, draw)
        try:
            edited = edit(face, draw)
        except Unsuitable as error:
            made.passed_over[name] = str(error)
            return
        made.triplets.append(self._added(made, job, name, edit, seed, edited, plain, to_set))

    def _added(
        self, made: Made, job: int, name: str, edit: Edit, seed: int, edited: Edited, plain: str, to_set: bool
    ) -> Triplet:
        """Add the files of an edited crop. Returns what they are for."""
        stem = self.stems[job]
        if to_set:
            who, _, inner = stem.partition("/")
            folder, changed = EDITED_TARGET, f"{EDITED_TARGET}/edited/{who}.{name}/{inner}.png"
            original = f"{EDITED_TARGET}/original/{stem}.png"
        else:
            folder = f"{edit.makes[0]}/{name}"
            original, changed = (f"{folder}/{stem}.{version}.png" for version in ("original", "edited"))
        made.links[original] = plain
        made.files[changed] = encode(edited.pixels, CHANGED, {"Edit": name})
        made.landmarks[original] = made.landmarks[changed] = made.landmarks[plain]
        region = None
        if edited.region is not None:
            region = f"regions/{folder}/{stem}{f'.{name}' if to_set else ''}.png"
            made.files[region] = encode_region(edited.region)
        source = f"{EDITED_TARGET}/original/{self._another(job)}.png" if to_set else original
        result = original if edit.makes == IDENTITY else changed
        return Triplet(folder, name, seed, edited.parameters, source, changed, result, region, edit.covers)

    def _several(self, job: int) -> bool:
        """Whether the person of a photograph has others."""
        return not self.faces.flat and len(self.people[PurePosixPath(self.stems[job]).parts[0]]) > 1

    def _another(self, job: int) -> str:
        """Stem of another photograph of the same person."""
        others = self.people[PurePosixPath(self.stems[job]).parts[0]]
        return others[(others.index(self.stems[job]) + 1) % len(others)]
