"""Faces of close-ups: what stands otherwise than it was found is looked at once more, upright."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from idn.data.alignment.detector import Face
from idn.data.alignment.every_face import CLOSE, EveryFace
from idn.geometry.templates import template_points

LANDMARKS = template_points("ffhq") * 100 + 50
UPRIGHT, LYING, NONE = [9.0, 1, 3, 2], [3.6, 1.7, 1.2, 6.9], [0.8, -0.5, 1.7, 0.9]


class Told(nn.Module):
    """A detector that sees a face in the middle of whatever it is shown, with the evidence that it is told."""

    longest = 320

    def __init__(self, evidence: list[list[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.told: Iterator[list[float]] = iter(evidence)

    def evidence(self, near: Tensor) -> Tensor:
        """The next one that it is told."""
        return torch.tensor(next(self.told))

    def decode(self, images: Tensor, raw: object = None) -> list[Tensor]:
        """An upright face where the template has it."""
        marks = template_points("ffhq") * CLOSE
        middle, half = marks.new_tensor((0.5, 0.6)) * CLOSE, 50.0
        row = torch.cat([middle - half, middle + half, marks.flatten(), marks.new_ones(1)])
        return [row[None] for _ in images]


@pytest.mark.parametrize(
    ("evidence", "seen"),
    [
        ([UPRIGHT], True),
        ([NONE], False),
        ([LYING, UPRIGHT], True),
        ([LYING, NONE], False),  # a shoulder or a wall beside a face
        ([LYING, LYING], False),
    ],
)
def test_a_face_that_stands_otherwise_is_seen_twice_or_not_at_all(evidence: list[list[float]], seen: bool) -> None:
    detector = Told(evidence)
    found = EveryFace(detector).near(torch.zeros(3, 200, 200, dtype=torch.uint8), LANDMARKS)
    assert (found is not None) == seen
    assert next(detector.told, None) is None


def test_faces_that_are_known_already_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    every = EveryFace(Told([UPRIGHT]))
    faces = [Face(torch.tensor([x, 0.0, x + 60, 60], dtype=torch.float64), LANDMARKS + x, 0.9) for x in (0.0, 500.0)]
    monkeypatch.setattr(every, "_levels", lambda photo: iter([faces]))
    measured: list[float] = []
    monkeypatch.setattr(every, "near", lambda photo, marks: measured.append(float(marks[0, 0])) or faces[1])
    found = every(torch.zeros(3, 200, 800, dtype=torch.uint8), False, lambda face: float(face.box[0]) > 100)
    assert len(found) == 1 and measured == [float(faces[1].landmarks[0, 0])]
