"""A detector of the red squares of tests.video.clips: a face is a square with a border of half its side around it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from idn.data.alignment.detector import Face
from idn.geometry.affine import invert_affine, transform_points
from idn.geometry.templates import template_points
from idn.images import from_uint8


def squares(pixels: Tensor) -> Face | None:
    """The square of a picture, (3, H, W) in [0, 1]."""
    red = (pixels[0] - pixels[1] > 0.35).double()
    count = float(red.sum())
    if count < 9:
        return None
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) + 0.5 for n in red.shape), indexing="ij")
    middle = torch.stack([(red * x).sum(), (red * y).sum()]) / count
    side = 2 * count**0.5
    box = torch.cat([middle - side / 2, middle + side / 2])
    return Face(box, template_points("ffhq") * side + middle - side / 2, 0.9)


class Squares:
    """As EveryFace, asked once or twice a frame. hidden: frames in which it sees nothing, by number from 1 on."""

    def __init__(self, hidden: Sequence[int] = ()) -> None:
        self.hidden, self.searches, self.close_ups = hidden, 0, 0
        self._frame, self._close = 0, False

    def __call__(self, photo: Tensor, turned: bool = True, wanted: Callable[[Face], bool] | None = None) -> list[Face]:
        self.searches += 1
        self._frame += not self._close
        self._close = False
        face = None if self._frame in self.hidden else squares(from_uint8(photo))
        return [] if face is None or (wanted is not None and not wanted(face)) else [face]

    def in_close_ups(self, crops: Tensor, matrices: Sequence[Tensor]) -> list[Face | None]:
        self.close_ups += 1
        self._frame += 1
        self._close = True
        if self._frame in self.hidden:
            return [None] * len(crops)
        found = []
        for crop, matrix in zip(crops, matrices, strict=True):
            face = squares(crop)
            back = invert_affine(matrix)
            found.append(
                face
                and face._replace(
                    box=transform_points(face.box.view(2, 2), back).flatten(),
                    landmarks=transform_points(face.landmarks, back),
                )
            )
        return found
