"""Warps of the face's shape: fatter or thinner cheeks, and a longer, shorter, broader or narrower jaw."""

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.triplets.drawing import bump, smoothstep
from idn.triplets.edit import IDENTITY, Edit, Edited, between, chance, finished
from idn.triplets.face import Face

_STILL = 0.02
"""Pixels by which a place may move and count as if it did not."""


def displaced(face: Face, move_a: Tensor, move_b: Tensor) -> tuple[Tensor, Tensor]:
    """Every pixel takes what is found that far away, in coordinates of the face. Returns image and region.

    A region is where anything moves, so the rest stays as it is, bit for bit.
    """
    dx = move_a * float(face.across[0]) + move_b * float(face.down[0])
    dy = move_a * float(face.across[1]) + move_b * float(face.down[1])
    moved = torch.hypot(dx, dy) > _STILL
    x, y = face.grid
    grid = torch.stack([x + dx, y + dy], -1)[None] * (2 / face.size) - 1
    image = F.grid_sample(face.image[None], grid, "bicubic", "reflection", align_corners=False)[0].clamp(0, 1)
    return torch.where(moved, image, face.image), moved.float()


class Fat(Edit):
    """Cheeks and neck become wider or narrower; eyes, nose and mouth stay where they are."""

    makes, largest_yaw = IDENTITY, 25.0

    def __init__(self, least: float = 0.08, most: float = 0.3) -> None:
        """least, most: how much of its width the face gains; half of that where it loses some."""
        self.least, self.most = least, most

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Widen the lower half of the face around its middle line."""
        amount, fatter = between(self.least, self.most, draw), chance(0.75, draw)
        amount = amount if fatter else -0.5 * amount
        a, b = face.coordinates
        weight = bump((a / 2.0) ** 2 + ((b - 0.85) / 1.35) ** 2).sqrt()
        weight = weight * smoothstep((b - 0.15) / 0.6) * smoothstep((a.abs() - 0.35) / 0.5)
        image, region = displaced(face, -amount * a * weight, 0.25 * amount * smoothstep((b - 1.2) / 0.6) * weight)
        return finished(face, image, region, {"amount": amount})


class Jaw(Edit):
    """The chin becomes longer or shorter, and the jaw broader or narrower."""

    makes, largest_yaw = IDENTITY, 25.0

    def __init__(self, most: float = 0.2) -> None:
        """most: largest change, in distances between the eyes."""
        self.most = most

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Move the chin along the face, and the corners of the jaw across it."""
        side = 1 if chance(0.5, draw) else -1
        length = side * between(0.4 * self.most, self.most, draw)
        width = between(-self.most, self.most, draw)
        a, b = face.coordinates
        chin = bump((a / 1.1) ** 2 + ((b - 1.75) / 0.75) ** 2) * smoothstep((b - 1.15) / 0.35)
        corner = sum(bump(((a - s * 0.85) / 0.6) ** 2 + ((b - 1.25) / 0.75) ** 2) * s for s in (-1, 1))
        image, region = displaced(face, -width * corner, -length * chin)
        return finished(face, image, region, {"length": length, "width": width})
