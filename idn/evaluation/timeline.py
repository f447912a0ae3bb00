"""Successive frames: what a method made of the two frames before each, across the chunks of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from idn.evaluation.landmarks import eye_distance, rigid_move
from idn.metrics.temporal import flicker, jitter

BACK = 2
"""Frames that a metric looks back at."""


class Track(NamedTuple):
    """T frames in order."""

    image: Tensor
    """(T, 3, S, S) in [0, 1]."""
    landmarks: Tensor
    """(T, 68, 2); NaN for a frame that cannot be judged."""


class Past(NamedTuple):
    """What came before N frames, of one method and of the targets. Landmarks are NaN where no frame came before."""

    image: Tensor
    """(N, 3, S, S): one frame before."""
    target: Tensor
    landmarks: Tensor
    """(N, 2, 68, 2): two frames before, and one."""
    target_landmarks: Tensor

    def jitter(self, landmarks: Tensor, target_landmarks: Tensor) -> Tensor:
        """(N,), see `idn.metrics.temporal.jitter`; both (N, 68, 2) of the frames themselves."""
        unit = eye_distance(target_landmarks)
        return jitter(landmarks, self.landmarks, target_landmarks, self.target_landmarks, unit)

    def flicker(self, image: Tensor, target: Tensor, target_landmarks: Tensor, face: Tensor) -> Tensor:
        """(N,), see `idn.metrics.temporal.flicker`, along the landmarks of the targets."""
        move = rigid_move(self.target_landmarks[:, -1], target_landmarks)
        known = self.landmarks[:, -1].isfinite().all(2).all(1)
        move = torch.where(known[:, None, None], move, math.nan)
        return flicker(image, self.image, target, self.target, move.to(image.device), face)


class Timeline:
    """Keeps the last frames of a chunk for the next.

    runs: of every pair, see `PairSet`; None where no frame follows another.
    """

    def __init__(self, runs: Sequence[int] | None) -> None:
        self._runs = None if runs is None or len(set(runs)) == len(runs) else torch.tensor(runs)
        self._kept: dict[str, Track] = {}
        self._until = 0

    def missed(self, rows: range) -> range:
        """Frames that have to be seen before these: none, unless those before were judged by an earlier process."""
        start = rows.start
        if self._runs is None or start == self._until or self._runs[start - 1] != self._runs[start]:
            return range(0)
        return range(max(0, start - BACK), start)

    def follow(self, rows: range, targets: Track, methods: Mapping[str, Track]) -> dict[str, Past]:
        """The past of these frames, by method, after which they are the past of the next; nothing without runs.

        rows: their numbers. targets, methods: the frames.
        """
        if self._runs is None:
            return {}
        before = torch.stack([torch.tensor([self._one_run(row, back) for back in (2, 1)]) for row in rows])
        whole = {name: self._joined(name, track, rows) for name, track in {"": targets, **methods}.items()}
        self._kept = {name: Track(*(part[-BACK:] for part in track)) for name, track in whole.items()}
        self._until = rows.stop
        image, points = _before(whole[""], before)
        pasts = {name: _before(whole[name], before) for name in methods}
        return {name: Past(mine, image, landmarks, points) for name, (mine, landmarks) in pasts.items()}

    def _one_run(self, row: int, back: int) -> bool:
        """Whether the frame that many before is of the same run."""
        return row >= back and bool(self._runs[row - back] == self._runs[row])

    def _joined(self, name: str, track: Track, rows: range) -> Track:
        """Behind the two frames that were kept, or as many that nobody has seen."""
        if name in self._kept and rows.start == self._until:
            kept = self._kept[name]
        else:
            image, landmarks = track.image[:1].expand(BACK, -1, -1, -1), track.landmarks[:1].expand(BACK, -1, -1)
            kept = Track(image, torch.full_like(landmarks, math.nan))
        return Track(*(torch.cat(parts) for parts in zip(kept, track, strict=True)))


def _before(track: Track, known: Tensor) -> tuple[Tensor, Tensor]:
    """Of BACK + N frames: (N, 3, S, S) of the one before each, and landmarks of the two before, (N, 2, 68, 2).

    known: (N, 2), whether the one two before, and one before, is of the same run.
    """
    landmarks = torch.stack([track.landmarks[:-2], track.landmarks[1:-1]], 1)
    return track.image[1:-1], torch.where(known[:, :, None, None], landmarks, math.nan)
