"""Head pose (yaw and pitch) from five landmarks: rough, but alike for alike heads."""

import math

import torch
from torch import Tensor

_DEPTH = 0.5
"""How far the tip of the nose stands before eyes and mouth, in parts of the distance from eyes to mouth."""
_FRONTAL = 0.6
"""Where it lies between eyes and mouth, in the same measure, when a head looks straight ahead."""


def head_pose(points: Tensor) -> Tensor:
    """About how far heads are turned and lowered, in degrees: yaw, above 0 where the nose points to the right of the
    picture, and pitch, above 0 where it points down.

    points: (..., 5, 2) eyes, nose tip and mouth corners, in pixels or parts of a square. The frame is the line from the
    middle of the eyes to the middle of the mouth, so roll, scale and place do not count. Along and across it the nose
    moves by its depth times the sine of the angle, which is taken for the angle: up to about 40 degrees that errs by
    less than a tenth, beyond it tells less apart. Depth and proportions are those of a mean face, so that a
    person's own nose shifts the result by some degrees. Returns (..., 2), not finite where eyes and mouth coincide.
    """
    eyes, nose, mouth = points[..., :2, :].mean(-2), points[..., 2, :], points[..., 3:, :].mean(-2)
    down, to_nose = mouth - eyes, nose - eyes
    square = down.square().sum(-1)
    along = (to_nose * down).sum(-1) / square
    across = (to_nose[..., 0] * down[..., 1] - to_nose[..., 1] * down[..., 0]) / square
    return torch.stack([across, along - _FRONTAL], -1) * (180 / math.pi / _DEPTH)
