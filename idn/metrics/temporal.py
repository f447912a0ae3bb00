"""Temporal metrics of videos: jitter (acceleration of landmarks) and flicker (change of what a swap did to a frame)."""

import math

import torch
from torch import Tensor

from idn.geometry.warping import warp


def jitter(points: Tensor, before: Tensor, target: Tensor, target_before: Tensor, unit: Tensor) -> Tensor:
    """By how much landmarks shake from frame to frame beside those of the target, in percent of `unit`, (N,).

    It is the root mean square, over the landmarks, of the difference of the two accelerations, over sqrt(6): landmarks
    that lie off by chance in every frame, by r in the root mean square, give r. A copy gives 0, a constant offset and a
    steady drift too; a face that stands still while the target's shakes does not.

    points, target: (N, K, 2) of the swap and of the target, in one frame of reference.
    before, target_before: (N, 2, K, 2), the same of the two frames before, the older one first; NaN where there is
        none, which makes the result NaN.
    unit: (N,) a length in the face, such as the distance between the eyes.
    """
    gap = torch.cat([before, points[:, None]], 1) - torch.cat([target_before, target[:, None]], 1)
    return 100 / math.sqrt(6) * _rms(_acceleration(gap.double())).to(unit) / unit


def shake(points: Tensor) -> Tensor:
    """How much landmarks shake on their own: the same of their own acceleration, (T - 2,), in their unit.

    points: (T, K, 2) of T frames in order, T at least 3.
    """
    return _rms(_acceleration(points.double().unfold(0, 3, 1).movedim(-1, 1))) / math.sqrt(6)


def flicker(image: Tensor, before: Tensor, target: Tensor, target_before: Tensor, move: Tensor, face: Tensor) -> Tensor:
    """By how much the difference of swap and target changes from frame to frame along the face, in percent of the
    range, (N,): root mean square inside the face.

    A copy gives 0, and so does a difference that moves with the face. A face that stays behind does not.

    image, target: (N, 3, S, S) RGB in [0, 1].
    before, target_before: (N, 3, S, S), the same of the frame before.
    move: (N, 2, 3), where that frame's face went: from its normalised coordinates to those of this frame. NaN where
        there is no frame before makes the result NaN.
    face: (N, 1, S, S) in [0, 1], where to look; an empty one gives NaN.
    """
    known = move.isfinite().flatten(1).all(1)
    still = torch.eye(2, 3).to(move)
    there = torch.where(known[:, None, None], move, still)
    change = (image - target) - warp(before - target_before, there, image.shape[-1])
    power = (change.square().mean(1, keepdim=True) * face).flatten(1).sum(1) / face.flatten(1).sum(1)
    return (100 * power.sqrt()).where(known, math.nan)


def _acceleration(points: Tensor) -> Tensor:
    """(N, 3, K, 2) in order -> (N, K, 2)."""
    return points[:, 2] - 2 * points[:, 1] + points[:, 0]


def _rms(vectors: Tensor) -> Tensor:
    """(N, K, 2) -> (N,): root mean square length."""
    return vectors.square().sum(-1).mean(1).sqrt()
