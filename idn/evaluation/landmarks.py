"""Pose and expression from 68 landmarks (iBUG 300-W order): a scaled-orthographic PnP fit, and a face-fixed frame."""

from typing import Protocol

import torch
from torch import Tensor

from idn.geometry.affine import fit_similarity


class Landmarks(Protocol):
    """Finds 68 landmarks."""

    def __call__(self, images: Tensor, points: Tensor) -> Tensor:
        """images: (N, 3, S, S); points: (N, 5, 2), roughly. Returns (N, 68, 2) in normalised coordinates."""
        ...


_HEAD = {
    17: (-6.825897, -6.760612, 4.402142),
    21: (-1.330353, -7.122144, 6.903745),
    22: (1.330353, -7.122144, 6.903745),
    26: (6.825897, -6.760612, 4.402142),
    36: (-5.311432, -5.485328, 3.987654),
    39: (-1.789930, -5.393625, 4.413414),
    42: (1.789930, -5.393625, 4.413414),
    45: (5.311432, -5.485328, 3.987654),
    31: (-2.005628, -1.409845, 6.165652),
    35: (2.005628, -1.409845, 6.165652),
    48: (-2.774015, 2.080775, 5.048531),
    54: (2.774015, 2.080775, 5.048531),
    57: (0.0, 3.116408, 6.097667),
    8: (0.0, 7.415691, 4.070434),
}
"""Landmark -> its place on an average head in centimetres, x to the right of the picture, y down, z to the camera."""
_RIGID = (27, 28, 29, 30, 33, 36, 39, 42, 45)
"""Landmarks that no expression moves: bridge and tip of the nose, corners of the eyes."""
_MOVING = (*range(17, 27), 37, 38, 40, 41, 43, 44, 46, 47, *range(48, 68))
"""Landmarks that expressions move: brows, lids, mouth."""
_EYES = (36, 39), (42, 45)


def head_points(like: Tensor) -> tuple[list[int], Tensor]:
    """Numbers of the landmarks of the average head, and their places, (14, 3)."""
    return list(_HEAD), like.new_tensor(list(_HEAD.values()))


def head_rotation(landmarks: Tensor) -> Tensor:
    """How heads are turned, (N, 3, 3) rotation matrices; the unit matrix looks into the camera.

    landmarks: (N, 68, 2), y down, in any unit; NaN gives NaN.
    This is the least-squares affine camera of the average head, made a rotation with one scale: perspective is passed
    over, and a head unlike the average one seems turned a little.
    """
    numbers, head = head_points(landmarks.double())
    head = head - head.mean(0)
    seen = landmarks.double()[:, numbers]
    known = seen.isfinite().all(2).all(1)[:, None, None]
    seen = torch.where(known, seen, head[:, :2])
    camera = torch.linalg.lstsq(head.expand(len(seen), -1, -1), seen - seen.mean(1, keepdim=True)).solution.mT
    left, _, right = torch.linalg.svd(camera, full_matrices=False)
    rows = left @ right
    whole = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    return torch.where(known, whole, torch.nan)


def pose_error(landmarks: Tensor, others: Tensor) -> Tensor:
    """Angle of the rotation between two poses in degrees, (N,). Both (N, 68, 2)."""
    turn = head_rotation(landmarks) @ head_rotation(others).mT
    skew = torch.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], 1)
    trace = turn.diagonal(dim1=1, dim2=2).sum(1)
    return torch.rad2deg(torch.atan2(skew.norm(dim=1), trace - 1)).float()


def face_frame(landmarks: Tensor) -> Tensor:
    """Landmarks that expressions move, in a frame fixed to the face: (N, 38, 2) in distances between the eyes.

    Its origin is the mean of the landmarks that none moves, its x axis the line through the eyes, its unit their
    distance.
    """
    points = landmarks.double()
    left, right = (points[:, list(eye)].mean(1) for eye in _EYES)
    across = right - left
    unit = across.norm(dim=1)[:, None, None]
    cos, sin = (across / unit[:, :, 0]).unbind(1)
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    origin = points[:, list(_RIGID)].mean(1, keepdim=True)
    return ((points[:, list(_MOVING)] - origin) / unit) @ turn.mT


def eye_distance(landmarks: Tensor) -> Tensor:
    """Between the middles of the eyes, (N,), in the unit of the landmarks, (N, 68, 2)."""
    left, right = (landmarks[:, list(eye)].mean(1) for eye in _EYES)
    return (right - left).norm(dim=1)


def rigid_move(landmarks: Tensor, onto: Tensor) -> Tensor:
    """The similarity that takes a face from one frame to the next, (N, 2, 3), by landmarks that no expression moves.

    landmarks, onto: (N, 68, 2). NaN where one of them is.
    """
    rigid = list(_RIGID)
    return fit_similarity(landmarks[:, rigid].double(), onto[:, rigid].double())


def expression_error(landmarks: Tensor, others: Tensor) -> Tensor:
    """Mean distance of the landmarks that expressions move, in percent of the distance between the eyes, (N,).

    Both (N, 68, 2). Another shape of brows and mouth counts as well, so an exact swap does not reach 0.
    """
    return 100 * (face_frame(landmarks) - face_frame(others)).norm(dim=-1).mean(1).float()
