"""Yaw and pitch from five landmarks, against a head that is turned in space."""

import math

import pytest
import torch

from idn.geometry.affine import transform_points
from idn.geometry.head_pose import head_pose

HEAD = torch.tensor([[-0.47, 0, 0], [0.47, 0, 0], [0, 0.6, 0.5], [-0.37, 1, 0], [0.37, 1, 0]], dtype=torch.float64)
"""Eyes, nose tip and mouth corners, in parts of the distance from eyes to mouth: right, down, towards the camera."""


def seen(yaw: float, pitch: float) -> torch.Tensor:
    """The landmarks as a distant camera sees them. Degrees."""
    a, b = math.radians(yaw), math.radians(pitch)
    turn = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]], dtype=torch.float64)
    nod = torch.tensor([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]], dtype=torch.float64)
    return (HEAD @ (nod @ turn).T)[:, :2]


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (20, 0), (-20, 0), (0, 15), (0, -15), (25, 10), (-35, -5)])
def test_angles_come_back_about_right_whatever_roll_and_size(yaw: float, pitch: float) -> None:
    points = seen(yaw, pitch)
    c, s = 0.3 * math.cos(0.4), 0.3 * math.sin(0.4)
    rolled = transform_points(points, torch.tensor([[c, -s, 0.5], [s, c, 0.2]], dtype=torch.float64))
    found = head_pose(torch.stack([points, rolled]))
    torch.testing.assert_close(found[0], found[1])
    assert (found[0] - torch.tensor([yaw, pitch])).abs().max() < 4


def test_a_head_that_turns_further_is_found_further() -> None:
    yaws = torch.stack([head_pose(seen(yaw, 0))[0] for yaw in range(-80, 81, 10)])
    assert (yaws.diff() > 0).all()
