"""Small stand-ins for the tests of a swap: models without weights, faces that are known."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idn.data.alignment.detector import Face
from idn.geometry.templates import template_points
from idn.swap.models.model import Model, Person
from idn.types import IdentityFeatures, SwapOutput


class Brighter(Model):
    """Adds the first number of the source's embedding to every pixel. mask: of its answers, or None."""

    def __init__(self, size: int = 32, mask: float | None = None, name: str = "brighter") -> None:
        super().__init__(name, "ffhq", size, {"model": name, "model_sha256": "0" * 64}, "nothing")
        self.mask = mask

    def look(self, crops: Tensor) -> IdentityFeatures:
        mean = torch.nn.functional.normalize(crops.mean((2, 3)))
        return IdentityFeatures(mean, torch.zeros(len(crops), 1, 1, 1))

    def person(self, who: IdentityFeatures | None, crop: Tensor | None) -> Person:
        amount = 0.2 if who is None else float(who.embedding[0, 0])
        return lambda targets: SwapOutput(
            (targets + amount).clamp(0, 1),
            None if self.mask is None else torch.full_like(targets[:, :1], self.mask),
        )


def face(left: float, top: float, side: float, turns: int = 0) -> Face:
    """One whose landmarks lie as in an ffhq crop of that place and size, after quarter turns."""
    points = template_points("ffhq") - 0.5
    for _ in range(turns):
        points = torch.stack([points[:, 1], -points[:, 0]], 1)
    box = torch.tensor([left, top, left + side, top + side], dtype=torch.float64)
    return Face(box, (points + 0.5) * side + box[:2], 0.9)


class Found:
    """A detector that always finds the same faces."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self.faces = list(faces)

    def __call__(self, photo: Tensor) -> list[Face]:
        return self.faces
