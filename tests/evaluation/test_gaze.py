"""Gaze from irises: eyes that are drawn in known places, and what cannot be measured."""

import math

import pytest
import torch

from idn.evaluation.gaze import gaze_error, iris_places

SIZE = 96


def drawn(x: float, y: float, width: float = 0.2, opening: float = 0.4, tilt: float = 0.0) -> tuple:
    """A face of two eyes, (1, 3, S, S), and its landmarks. x, y: of the irises, in widths of the eye."""
    grid = (torch.arange(SIZE) + 0.5) / SIZE
    spots = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    turn = torch.tensor([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    image, points = torch.full((SIZE, SIZE), 0.6), torch.zeros(68, 2)
    outline = torch.tensor([[-0.5, 0], [-0.2, -0.5], [0.2, -0.5], [0.5, 0], [0.2, 0.5], [-0.2, 0.5]])
    for first, middle in ((36, 0.3), (42, 0.7)):
        centre = torch.tensor([middle, 0.4])
        points[first : first + 6] = centre + width * (outline * torch.tensor([1, opening])) @ turn
        inside = (spots - centre) @ turn.T / width
        image = torch.where(inside.abs()[..., 0] + inside.abs()[..., 1] / opening < 0.6, 0.9, image)
        iris = (inside - torch.tensor([x, y])).norm(dim=-1) < 0.12
        image = torch.where(iris, 0.2, image)
    return image.expand(1, 3, SIZE, SIZE), points[None]


@pytest.mark.parametrize("tilt", [0.0, 0.3])
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.15, 0.0), (-0.1, 0.04)])
def test_irises_are_found_in_the_frame_of_their_eyes(x: float, y: float, tilt: float) -> None:
    found = iris_places(*drawn(x, y, tilt=tilt))[0]
    torch.testing.assert_close(found, torch.tensor([[x, y]] * 2), atol=0.02, rtol=0)


def test_an_error_counts_in_widths_of_the_eye_and_not_in_place_or_size_of_the_face() -> None:
    here, there = drawn(0.1, 0.0), drawn(-0.1, 0.0, width=0.26, tilt=0.2)
    assert float(gaze_error(*here, *there)) == pytest.approx(20, abs=2)
    assert float(gaze_error(*here, *here)) == 0


def test_what_cannot_be_measured_is_no_number() -> None:
    open_eyes, closed, small = drawn(0, 0), drawn(0, 0, opening=0.1), drawn(0, 0, width=0.08)
    assert gaze_error(*open_eyes, *closed).isnan() and gaze_error(*open_eyes, *small).isnan()
    flat = torch.full((1, 3, SIZE, SIZE), 0.5)
    assert gaze_error(flat, open_eyes[1], *open_eyes).isnan()
    assert gaze_error(open_eyes[0], open_eyes[1] * float("nan"), *open_eyes).isnan()


def test_one_eye_that_is_seen_is_enough() -> None:
    image, points = drawn(0.1, 0.0)
    half = points.clone()
    half[:, 42:48] = half[:, 42:43]  # the other one is covered
    assert float(gaze_error(image, half, image, points)) == pytest.approx(0, abs=1e-4)
