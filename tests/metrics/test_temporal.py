"""Jitter and flicker of sequences whose shaking and flashing are known."""

import math

import pytest
import torch
from scipy.ndimage import shift as moved

from idn.geometry.affine import fit_similarity
from idn.metrics.temporal import flicker, jitter, shake

FRAMES, POINTS, SIZE = 400, 68, 48
UNIT = torch.full((FRAMES - 2,), 0.3)


def path(seed: int, steady: bool = True) -> torch.Tensor:
    """(T, K, 2): a face that moves and turns slowly, or stands still."""
    face = torch.rand(POINTS, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    time = torch.arange(FRAMES, dtype=torch.float64)
    way = 0.1 * torch.stack([(time / 15).sin(), (time / 11).cos()], 1)
    return face + (0 if steady else 1) * way[:, None]


def of_sequence(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    before, target_before = (torch.stack([x[:-2], x[1:-1]], 1) for x in (points, target))
    return jitter(points[2:], before, target[2:], target_before, UNIT)


@pytest.mark.parametrize("radius", [0.001, 0.02])
def test_a_known_jitter_comes_out_and_the_targets_own_motion_does_not(radius: float) -> None:
    target = path(0, steady=False)
    noise = torch.randn(FRAMES, POINTS, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise *= radius / math.sqrt(2)  # the length has this root mean square
    found = of_sequence(target + noise, target)
    assert float(found.mean()) == pytest.approx(100 * radius / 0.3, rel=0.01)
    assert float(shake(path(0) + noise).square().mean().sqrt()) == pytest.approx(radius, rel=0.02)


def test_what_does_not_shake_has_no_jitter_and_what_stands_still_beside_a_shaking_target_has() -> None:
    target = path(2, steady=False)
    drift = torch.linspace(0, 0.3, FRAMES, dtype=torch.float64)[:, None, None]
    for points in (target, target + 0.05, target + drift):
        assert float(of_sequence(points, target).max()) < 1e-6
    frozen = target[:1].expand_as(target)
    assert float(of_sequence(frozen, target).mean()) > 0.01
    alternating = 0.01 * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(FRAMES // 2)[:, None, None]
    by_hand = 100 / 0.3 / math.sqrt(6) * 4 * 0.01 * math.sqrt(2)
    assert of_sequence(target + alternating, target).numpy() == pytest.approx(by_hand, rel=1e-6)


def test_a_frame_without_two_before_it_has_no_jitter() -> None:
    points = path(3)[:1].float()
    before = torch.full((1, 2, POINTS, 2), math.nan)
    assert jitter(points, before, points, before, torch.ones(1)).isnan().all()


def texture(seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)


def face() -> torch.Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 14:34, 14:34] = 1
    return mask


def test_a_flash_is_measured_exactly_and_a_constant_change_is_none() -> None:
    target, still = texture(0), torch.eye(2, 3)[None]
    for flash in (0.0, 0.05, -0.2):
        found = flicker(target * 0.5 + flash, target * 0.5, target, target, still, face())
        assert float(found) == pytest.approx(100 * abs(flash), abs=1e-4)


def test_what_moves_with_the_face_does_not_flicker_and_what_stays_behind_does() -> None:
    """Frames moved by scipy's splines: along the landmarks little is left of a difference that moved as they did."""
    target, swap = texture(0), texture(1)
    before = [
        torch.from_numpy(moved(x[0].numpy(), (0, 1.5, -2.5), order=3, mode="nearest"))[None] for x in (swap, target)
    ]
    points = torch.rand(1, 9, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    move = fit_similarity(points + torch.tensor([-2.5, 1.5]) / SIZE, points)
    along = float(flicker(swap, before[0], target, before[1], move, face()))
    standing = float(flicker(swap, before[0], target, before[1], torch.eye(2, 3)[None], face()))
    frozen = float(flicker(swap, swap, target, before[1], move, face()))
    assert along < 0.5 and standing > 10 * along and frozen > 10 * along


def test_without_a_frame_before_or_without_a_face_there_is_no_flicker() -> None:
    target = texture(0).repeat(2, 1, 1, 1)
    move = torch.eye(2, 3).repeat(2, 1, 1)
    move[0] = math.nan
    found = flicker(target, target, target, target, move, face().expand(2, -1, -1, -1))
    assert found.isnan().tolist() == [True, False]
    assert flicker(target, target, target, target, move, torch.zeros(2, 1, SIZE, SIZE)).isnan().all()
