"""Jitter and flicker of one swapped video against its target, from two streams of whole frames."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.alignment.crop import UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector, Face
from idn.data.regions import LandmarkRegions
from idn.errors import UserError
from idn.evaluation.landmarks import Landmarks
from idn.evaluation.timeline import BACK, Past
from idn.geometry.affine import invert_affine, transform_points
from idn.images import from_uint8
from idn.metrics.temporal import shake


class VideoScores(NamedTuple):
    """What was seen of one video. Numbers are NaN where too few frames in a row show a face."""

    frames: int
    measured: int
    """Frames whose target shows a face."""
    jitter: float
    """Mean, in percent of the distance between the eyes; see `idn.metrics.temporal.jitter`."""
    jitter_ratio: float
    """How much the result's landmarks shake over how much the target's do; 1 is alike."""
    flicker: float
    """Mean, in percent of the range; see `idn.metrics.temporal.flicker`."""


def score_video(
    results: Iterable[Tensor],
    targets: Iterable[Tensor],
    detector: Detector,
    landmarks: Landmarks,
    template: str = "arcface_112_v2",
    size: int = 224,
) -> VideoScores:
    """Compare a swapped video with the one that it was made of, a frame at a time.

    results, targets: frames in order, (3, H, W) uint8 RGB each; both of one size.
    detector: finds the face in the targets, of several the one nearest to that of the frame before.
    landmarks: finds 68 landmarks in crops.
    template, size: of the crops that both are seen through, cut where the face of the target is.
    Raises UserError for videos of different lengths or sizes, fewer than 3 frames, and no face in any of them.
    """
    view, count = _View(detector, landmarks, template, size), 0
    for result, target in zip_longest(results, targets):
        if result is None or target is None:
            shorter = "result" if result is None else "target"
            raise UserError(f"the {shorter} ends after {count} frames and the other goes on: give two of one length")
        if result.shape != target.shape:
            one, other = (f"{frame.shape[2]} x {frame.shape[1]}" for frame in (result, target))
            raise UserError(f"the result's frames have {one} px, the target's {other}: give two of one size")
        view.see(result, target)
        count += 1
    if count <= BACK:
        raise UserError(f"a video of {count} frames has no jitter: give {BACK + 1} or more")
    if not view.measured:
        raise UserError(f"no face is found in any of the {count} frames of the target: give a video that shows one")
    return view.scores(count)


class _Frame(NamedTuple):
    """One frame of result and target through one crop."""

    result: Tensor
    """(1, 3, S, S) in [0, 1]."""
    target: Tensor
    points: Tensor
    """(1, 68, 2) of the result, in normalised coordinates."""
    target_points: Tensor
    landmarks: Tensor
    """(1, 5, 2) of the target."""
    places: Tensor
    """(2, 68, 2): both in pixels of the whole frame."""


class _View:
    """Looks at the face of a video; keeps the last two frames, and of all a few numbers."""

    def __init__(self, detector: Detector, landmarks: Landmarks, template: str, size: int) -> None:
        self._detector, self._landmarks = detector, landmarks
        self._template, self._size = template, size
        self._region = LandmarkRegions(template)
        self._past: deque[_Frame] = deque(maxlen=BACK)
        self._middle: Tensor | None = None
        self._jitter: list[float] = []
        self._flicker: list[float] = []
        self._shake: list[Tensor] = []
        self.measured = 0

    def see(self, result: Tensor, target: Tensor) -> None:
        """Two frames, (3, H, W) uint8. Without a face, what follows is compared with nothing before."""
        face = self._face(target)
        frame = None if face is None else self._cut(result, target, face)
        if frame is None:
            self._past.clear()
            return
        self.measured += 1
        if self._past:
            self._compare(frame)
        self._past.append(frame)

    def scores(self, frames: int) -> VideoScores:
        """Of everything that was seen."""
        own, theirs = torch.cat(self._shake, 1).square().mean(1).sqrt().tolist() if self._shake else (math.nan, 0.0)
        ratio = own / theirs if theirs > 0 else math.nan
        return VideoScores(frames, self.measured, _mean(self._jitter), ratio, _mean(self._flicker))

    def _face(self, target: Tensor) -> Face | None:
        faces = self._detector(target)
        if not faces:
            return None
        middles = [face.landmarks.mean(0) for face in faces]
        near = 0
        if self._middle is not None:
            near = min(range(len(faces)), key=lambda k: float((middles[k] - self._middle).norm()))
        self._middle = middles[near]
        return faces[near]

    def _cut(self, result: Tensor, target: Tensor, face: Face) -> _Frame | None:
        """Both through the crop of the target's face; None where that cannot be cut."""
        try:
            crop = cut_crop(target, face.landmarks, self._template, self._size)
        except UnusableLandmarks:
            return None
        seen = from_uint8(cut_crop(result, face.landmarks, self._template, self._size).image)[None]
        shown = from_uint8(crop.image)[None]
        points, target_points = (self._landmarks(picture, crop.landmarks[None]) for picture in (seen, shown))
        both = torch.cat([points, target_points]).double() * self._size
        places = transform_points(both, invert_affine(crop.matrix))
        return _Frame(seen, shown, points, target_points, crop.landmarks[None], places)

    def _compare(self, now: _Frame) -> None:
        before = self._past[-1]
        older = self._past[0] if len(self._past) == BACK else None
        past = Past(
            before.result,
            before.target,
            _pair(None if older is None else older.points, before.points),
            _pair(None if older is None else older.target_points, before.target_points),
        )
        face = self._region(now.target, now.landmarks)
        self._flicker.append(float(past.flicker(now.result, now.target, now.target_points, face)))
        if older is not None:
            self._jitter.append(float(past.jitter(now.points, now.target_points)))
            places = torch.stack([older.places, before.places, now.places], 1)
            self._shake.append(torch.stack([shake(run) for run in places]))


def _pair(older: Tensor | None, before: Tensor) -> Tensor:
    """(1, 2, 68, 2): landmarks two frames before, NaN where there is none, and one before."""
    return torch.stack([torch.full_like(before, math.nan) if older is None else older, before], 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
