"""Faces without photographs: drawn ones, with landmarks of an average face."""

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from idn.data.alignment.detector import Face as DetectedFace
from idn.data.procedural import FaceRenderer
from idn.geometry.affine import fit_similarity, transform_points
from idn.geometry.templates import template_points
from idn.images import to_uint8
from idn.triplets.face import Face


def average_landmarks() -> Tensor:
    """(68, 2) of a frontal face in distances between the eyes, from the middle of the eyes, y down."""
    jaw = [(-1.15 * math.cos(math.pi * k / 16), 0.1 + 1.65 * math.sin(math.pi * k / 16)) for k in range(17)]
    brows = [
        (s * x, y)
        for s, xs in ((-1, (0.85, 0.7, 0.52, 0.35, 0.2)), (1, (0.2, 0.35, 0.52, 0.7, 0.85)))
        for x, y in zip(xs, (-0.3, -0.38, -0.4, -0.38, -0.3), strict=True)
    ]
    nose = [(0, 0.05), (0, 0.2), (0, 0.38), (0, 0.55), (-0.2, 0.65), (-0.1, 0.7), (0, 0.72), (0.1, 0.7), (0.2, 0.65)]
    eyes = [
        (s * 0.5 + dx, dy)
        for s in (-1, 1)
        for dx, dy in ((-0.2, 0), (-0.08, -0.08), (0.08, -0.08), (0.2, 0), (0.08, 0.07), (-0.08, 0.07))
    ]
    outer = [
        (-0.42, 1),
        (-0.25, 0.92),
        (-0.1, 0.88),
        (0, 0.9),
        (0.1, 0.88),
        (0.25, 0.92),
        (0.42, 1),
        (0.25, 1.12),
        (0.1, 1.16),
        (0, 1.17),
        (-0.1, 1.16),
        (-0.25, 1.12),
    ]
    inner = [(-0.35, 1), (-0.1, 0.98), (0, 0.98), (0.1, 0.98), (0.35, 1), (0.1, 1.02), (0, 1.03), (-0.1, 1.02)]
    return torch.tensor([*jaw, *brows, *nose, *eyes, *outer, *inner], dtype=torch.float64)


FRAME = torch.tensor([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.55), (-0.42, 1.0), (0.42, 1.0)], dtype=torch.float64)
"""The five landmarks in that measure."""


def laid_over(points: Tensor) -> Tensor:
    """The average landmarks, (68, 2), over five points, (5, 2)."""
    return transform_points(average_landmarks(), fit_similarity(FRAME, points.double()))


def drawn(seed: int, size: int = 96) -> tuple[Tensor, Tensor]:
    """A drawn face that looks ahead: (3, size, size) uint8, and its landmarks, (5, 2)."""
    renderer, draw = FaceRenderer(0, 0), torch.Generator().manual_seed(seed)
    person, shown = renderer.sample_identity(1, draw), renderer.sample_attributes(1, draw)
    shown[:, :3] = 0
    face = renderer.render(person, shown, size)
    return to_uint8(face.image)[0], face.landmarks[0].double()


class MiddleDetector:
    """Finds a face in the middle of every picture that is not black, as large as that."""

    settings: ClassVar[dict[str, str]] = {"kind": "middle"}

    def __call__(self, photo: Tensor) -> list[DetectedFace]:
        if photo.float().mean() < 2:
            return []
        sides = torch.tensor([photo.shape[2], photo.shape[1]], dtype=torch.float64)
        box = torch.cat([0.2 * sides, 0.8 * sides])
        return [DetectedFace(box, template_points("ffhq") * sides, 1.0)]


class AverageLandmarks:
    """Lays those of an average face over five points."""

    def __call__(self, images: Tensor, points: Tensor) -> Tensor:
        return torch.stack([laid_over(five) for five in points]).float()


@pytest.fixture(scope="session")
def face() -> Face:
    pixels, points = drawn(3, 128)
    return Face(pixels, points, laid_over(points))
