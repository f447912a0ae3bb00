"""A face that is edited: its crop, its landmarks, coordinates fixed to it, and the colours that drawings take over."""

from functools import cached_property

import torch
from torch import Tensor

from idn.geometry.head_pose import head_pose
from idn.images import from_uint8, luma
from idn.triplets.drawing import blurred

_SKIN = ((-0.42, 0.52), (0.42, 0.52), (0.0, -0.42), (0.0, 1.55))
"""Places of bare skin on most faces: cheeks, forehead, chin; in coordinates of the face."""
_GREY = 0.02
"""Mean difference of the colours of a pixel below which a picture is black and white."""


class Face:
    """One face, (3, S, S), and where it is.

    Its coordinates: (a, b) is the middle of the eyes plus a times the way from the left to the right eye, as seen, plus
    b times the way from there to the middle of the mouth. Eyes are at (-0.5, 0) and (0.5, 0), the mouth is at (0, 1).
    They lean and narrow with the head.
    """

    def __init__(self, pixels: Tensor, points: Tensor, dense: Tensor | None = None) -> None:
        """pixels: (3, S, S) uint8 RGB.

        points: (5, 2) in normalised coordinates.
        dense: (68, 2), the same in the order of iBUG 300-W, where they are known.
        """
        self.pixels, self.image, self.size = pixels, from_uint8(pixels[None])[0], pixels.shape[-1]
        self.points = points.double() * self.size
        self.dense = None if dense is None else dense.double() * self.size
        self.yaw, self.pitch = head_pose(points.double()).tolist()
        eyes, mouth = self.points[:2].mean(0), self.points[3:].mean(0)
        self.origin, self.across, self.down = eyes, self.points[1] - self.points[0], mouth - eyes
        self.unit = float((self.across.norm() + self.down.norm()) / 2)
        """Mean of both ways in pixels."""

    def place(self, *where: tuple[float, float]) -> Tensor:
        """Places in pixels, (K, 2), of some in coordinates of the face."""
        return self.at(torch.tensor(where, dtype=torch.float64))

    def at(self, where: Tensor) -> Tensor:
        """The same for (K, 2) float64."""
        return self.origin + where[:, :1] * self.across + where[:, 1:] * self.down

    @cached_property
    def grid(self) -> tuple[Tensor, Tensor]:
        """x and y of every pixel's centre, (S, S) each."""
        steps = torch.arange(self.size, dtype=torch.float32) + 0.5
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return x, y

    @cached_property
    def coordinates(self) -> tuple[Tensor, Tensor]:
        """a and b of every pixel, (S, S) each."""
        inverse = torch.linalg.inv(torch.stack([self.across, self.down], 1)).float()
        x, y = (field - float(at) for field, at in zip(self.grid, self.origin, strict=True))
        return inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y

    def colour_at(self, *where: tuple[float, float], reach: float = 0.1) -> Tensor:
        """Median colour, (3,), of squares around places in coordinates of the face, `reach` units to every side."""
        half = max(1, round(reach * self.unit))
        found = []
        for x, y in self.place(*where).round().int().tolist():
            rows = slice(max(0, y - half), max(0, y + half + 1))
            part = self.image[:, rows, max(0, x - half) : max(0, x + half + 1)]
            if part.numel():
                found.append(part.flatten(1))
        return torch.cat(found, 1).median(1).values if found else self.image.flatten(1).median(1).values

    @cached_property
    def skin(self) -> Tensor:
        """Colour of the skin, (3,)."""
        each = torch.stack([self.colour_at(place) for place in _SKIN])
        return each.median(0).values.clamp(0.02, 0.98)

    @cached_property
    def brightness(self) -> float:
        """How bright things in front of this face are, relative to a well lit picture: 0.25 to 1.15."""
        cheeks = torch.stack([self.colour_at(place) for place in _SKIN[:3]])
        return float((cheeks.max(1).values.median() / 0.72).clamp(0.25, 1.15))

    @cached_property
    def light(self) -> float:
        """Where the light comes from: -1 left of the picture, 1 right."""
        left, right = (float(self.colour_at(place).mean()) for place in _SKIN[:2])
        return max(-1.0, min(1.0, 2 * (right - left) / (right + left + 0.05)))

    @cached_property
    def black_and_white(self) -> bool:
        """Whether the picture has no colours."""
        return float((self.image.amax(0) - self.image.amin(0)).mean()) < _GREY

    @cached_property
    def shading(self) -> Tensor:
        """(1, S, S) around 1: how bright the surroundings of a pixel are, relative to the skin, held within 0.5 to 1.3.

        What is laid over the face is multiplied by it, and so is lit as the face is.
        """
        soft = blurred(luma(self.image[None])[0], 0.35 * self.unit)
        return (0.35 + 0.65 * soft / float(luma(self.skin.view(1, 3, 1, 1)))).clamp(0.5, 1.3)

    def tinted(self, colour: Tensor) -> Tensor:
        """A colour, (3, ...) in [0, 1], as this picture would show it: as bright, and grey in one without colours."""
        seen = colour * self.brightness
        return seen.mean(0, keepdim=True).expand_as(seen).clone() if self.black_and_white else seen
