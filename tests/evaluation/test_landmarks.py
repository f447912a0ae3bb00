"""Pose and expression: known rotations and known movements come out."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from idn.evaluation.landmarks import _MOVING, expression_error, head_points, head_rotation, pose_error


def seen(rotation: Rotation, scale: float = 0.02, shift: float = 0.5) -> torch.Tensor:
    """The average head through a camera without perspective: (1, 68, 2); landmarks that it has not are 0."""
    numbers, head = head_points(torch.zeros(1, dtype=torch.float64))
    points = torch.zeros(1, 68, 2, dtype=torch.float64)
    points[0, numbers] = scale * (head @ torch.tensor(rotation.as_matrix()).mT)[:, :2] + shift
    return points


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, -15, 0), (0, 0, 40), (20, 10, -5)], ids=str)
def test_a_rotation_is_found_again(angles: tuple[int, int, int]) -> None:
    rotation = Rotation.from_euler("yxz", angles, degrees=True)
    found = head_rotation(seen(rotation))[0]
    assert found.numpy() == pytest.approx(rotation.as_matrix(), abs=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 0.5, 10.0, 60.0])
def test_the_error_is_the_angle_between_two_poses(degrees: float) -> None:
    start = Rotation.from_euler("yxz", (12, -8, 5), degrees=True)
    turned = Rotation.from_rotvec(math.radians(degrees) * torch.tensor([0.6, 0.8, 0.0]).numpy()) * start
    assert float(pose_error(seen(start), seen(turned))) == pytest.approx(degrees, abs=1e-4)


def test_place_size_and_tilt_of_a_face_are_no_expression() -> None:
    points = torch.rand(3, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    assert expression_error(points, 3 * points @ turn.mT + 7).abs().max() < 1e-4


def test_a_moved_landmark_counts_in_distances_between_the_eyes() -> None:
    points = torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points[0, [36, 39, 42, 45]] = torch.tensor([[0.3, 0.4], [0.4, 0.4], [0.6, 0.4], [0.7, 0.4]], dtype=torch.float64)
    moved = points.clone()
    moved[0, 51, 1] += 0.03  # eyes lie 0.3 apart: a tenth of that
    assert float(expression_error(points, moved)) == pytest.approx(10 / len(_MOVING), rel=1e-5)


def test_a_face_without_landmarks_has_neither_pose_nor_expression_and_the_one_beside_it_has() -> None:
    both = torch.cat([seen(Rotation.identity()), seen(Rotation.from_euler("y", 10, degrees=True))])
    holes = both.clone()
    holes[0] = math.nan
    assert pose_error(holes, both).isnan().tolist() == [True, False]
    points = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gone = points.clone()
    gone[0, 30] = math.nan
    assert expression_error(gone, points).isnan().tolist() == [True, False]
