"""One photograph: detect, choose, align, swap in batches, paste back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.alignment.crop import Crop, UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector, Face
from idn.geometry.affine import transform_points
from idn.geometry.warping import paste, reach
from idn.images import from_uint8, to_uint8
from idn.swap.choose import Choice, assign
from idn.swap.models.model import Model, Person
from idn.swap.opacity import matched, opacity
from idn.swap.timing import Parts
from idn.swap.turned_faces import MOST_YAW, facing
from idn.types import IdentityFeatures


class Source(NamedTuple):
    """Whose face is put into pictures."""

    person: Person
    who: IdentityFeatures | None
    """As the model's encoder sees them; None where it has none."""


@dataclass
class Swapping:
    """Everything that stays the same from picture to picture.

    model: swaps crops.
    sources: taken in by it.
    choice: of the faces.
    match_colour: whether swapped faces get the colours of what they replace.
    batch: crops at a time.
    parts: where the time goes.
    most_yaw: degrees; faces that are turned further to a side stay as they are. None for no bound.
    """

    model: Model
    sources: Sequence[Source]
    choice: Choice = field(default_factory=Choice)
    match_colour: bool = False
    batch: int = 8
    parts: Parts = field(default_factory=Parts)
    most_yaw: float | None = MOST_YAW

    def chosen(self, photo: Tensor, faces: Sequence[Face]) -> dict[int, int]:
        """Number of the face -> number of its source. photo: (3, H, W) uint8 RGB."""
        seen = None
        if self.choice.like is not None and faces:
            seen = torch.cat([self.embedding(self.crop(photo, face.landmarks)) for face in faces])
        return assign(self.choice, len(self.sources), faces, seen)

    def crop(self, photo: Tensor, landmarks: Tensor) -> Crop:
        """The crop of one face in the framing of the model."""
        return cut_crop(photo, landmarks, self.model.template, self.model.size)

    def embedding(self, crop: Crop) -> Tensor:
        """(1, D): who is on it, on the CPU."""
        return self.model.look(from_uint8(crop.image)[None]).embedding.cpu()

    def swapped(self, crops: Tensor, source: Source) -> tuple[Tensor, Tensor]:
        """Swap N crops of one source.

        crops: (N, 3, S, S) in [0, 1]. Returns the images, (N, 3, S, S) in [0, 1], and how much of them shows,
        (N, 1, S, S).
        """
        with self.parts.measured("network"):
            found = [source.person(part) for part in crops.split(self.batch)]
            image = torch.cat([out.image for out in found]).clamp(0, 1)
            mask = None if found[0].mask is None else torch.cat([out.mask for out in found])
        with self.parts.measured("paste"):
            share = opacity(mask, self.model.template, crops.shape[-1]).expand(len(crops), -1, -1, -1)
            return matched(image, crops, share) if self.match_colour else image, share


class SwappedFace(NamedTuple):
    """One face that was swapped."""

    face: Face
    source: int
    """Number of the source."""
    crop: Crop
    image: Tensor
    """(3, S, S) in [0, 1]: what the model made of it."""
    share: Tensor
    """(1, S, S) in [0, 1]: how much of it shows."""


class SwappedPhoto(NamedTuple):
    """A photograph with other faces."""

    pixels: Tensor
    """(3, H, W) uint8 RGB."""
    faces: int
    """How many were found."""
    swapped: list[SwappedFace]
    aside: int = 0
    """How many of the chosen ones are turned too far to a side."""


@torch.inference_mode()
def swap_photo(photo: Tensor, detector: Detector, swapping: Swapping) -> SwappedPhoto:
    """Swap the chosen faces of a photograph.

    photo: (3, H, W) uint8 RGB; it is not changed.
    detector: finds all of its faces.
    """
    parts = swapping.parts
    with parts.measured("detect"):
        faces = detector(photo)
        chosen = swapping.chosen(photo, faces)
    crops: list[tuple[int, Crop]] = []
    aside = 0
    with parts.measured("align"):
        for number in sorted(chosen, key=lambda k: faces[k].size):  # larger faces stand before smaller ones
            if not facing(faces[number].landmarks, swapping.most_yaw):
                aside += 1
                continue
            try:
                crops.append((number, swapping.crop(photo, faces[number].landmarks)))
            except UnusableLandmarks:  # a face only for the detector
                continue
    made: list[SwappedFace] = []
    for source in sorted(set(chosen.values())):
        ours = [(number, crop) for number, crop in crops if chosen[number] == source]
        if ours:
            images, shares = swapping.swapped(
                from_uint8(torch.stack([crop.image for _, crop in ours])), swapping.sources[source]
            )
            made += [
                SwappedFace(faces[number], source, crop, image, share)
                for (number, crop), image, share in zip(ours, images, shares, strict=True)
            ]
    with parts.measured("paste"):
        pixels = photo.clone()
        for one in sorted(made, key=lambda one: one.face.size):
            paste_bytes(pixels, one.image, one.crop.matrix, one.share)
    return SwappedPhoto(pixels, len(faces), made, aside)


def paste_bytes(pixels: Tensor, image: Tensor, matrix: Tensor, share: Tensor) -> None:
    """Paste a crop into bytes, in place: only the surroundings of the face are computed.

    pixels: (3, H, W) uint8 RGB.
    image, share: (3, S, S) and (1, S, S) in [0, 1].
    matrix: (2, 3), from pixels of the picture to those of the crop.
    """
    left, top, right, bottom = reach(matrix.double(), image.shape[-1], *pixels.shape[:0:-1])
    if right <= left or bottom <= top:
        return
    corner = transform_points(matrix.new_tensor([[left, top]]), matrix).mT
    moved = torch.cat([matrix[:, :2], corner], -1)
    part = pixels[:, top:bottom, left:right]
    part.copy_(to_uint8(paste(from_uint8(part)[None], image[None], moved, share[None]))[0])
