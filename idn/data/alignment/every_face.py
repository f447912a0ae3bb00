"""Multi-face detector: every face of a photograph up to 8K, of any size and rotation (pyramid, tiles, turns)."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from idn.data.alignment.crop import UnusableLandmarks, cut_crop
from idn.data.alignment.detector import CLEAR, Face, YuNetDetector, is_upright, turned_back
from idn.files.option_checks import require_number
from idn.geometry.affine import invert_affine, transform_points
from idn.images import from_uint8

SMALLEST = 12
"""Pixels of a face in the copy that is searched from which the network finds it."""
TILE, OVERLAP = 1280, 160
"""Larger copies are searched in parts of that many pixels a side, which share this many."""
CLOSE = 192
"""Pixels of a side of the close-up, aligned to ffhq, in which landmarks are measured: the face has about 110."""
Raw = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""What the network of a detector says of pictures; see `YuNetDetector.raw`."""
_AMISS = 0.2
"""A face of a close-up has its middle within this share of the side from where the first look put it."""


class EveryFace:
    """All faces of a photograph, each standing its own way, measured once more in an upright close-up.

    detector: on any device.
    least: pixels of a face's shorter side from which it is looked for; the smaller, the larger the copies searched.
    close_ups: what computes `detector.raw` of one close-up, (1, 3, CLOSE, CLOSE), in another runtime; None for itself.
    Raises OptionError for a number that cannot work.
    """

    def __init__(self, detector: YuNetDetector, least: float = 24.0, close_ups: Raw | None = None) -> None:
        require_number("least", least, 8)
        self.detector, self.least, self._raw = detector, least, close_ups

    @torch.inference_mode()
    def __call__(self, photo: Tensor, turned: bool = True, wanted: Callable[[Face], bool] | None = None) -> list[Face]:
        """Find the faces of a picture.

        photo: (3, H, W) uint8 RGB on the CPU.
        turned: whether faces are looked for in all four quarter turns, or upright ones only.
        wanted: asked of each face at the first look, before it is measured, which takes most of the time; None for all.
        Returns all faces that are wanted, the largest first.
        """
        found: list[Face] = []
        for turns in range(4 if turned else 1):
            around = photo.rot90(turns, (1, 2)).contiguous()
            faces = [face for part in self._levels(around) for face in part]
            found += [turned_back(face, turns, *photo.shape[-2:]) if turns else face for face in faces]
        seen = [face for face in _apart(found) if wanted is None or wanted(face)]
        measured = (self.near(photo, face.landmarks) for face in seen)
        large = [face for face in measured if face is not None and face.size >= self.least]
        return sorted(_apart(large), key=lambda face: face.size, reverse=True)

    def _levels(self, photo: Tensor) -> Iterator[list[Face]]:
        """Faces in copies of growing size, down to one in which a face of `least` pixels can be seen."""
        side, longest = max(photo.shape[-2:]), self.detector.longest
        largest = min(side, math.ceil(side * SMALLEST / self.least))
        yield self.detector.search(photo, longest)
        yield self.detector.search(photo, longest // 2, margin=0.4)
        while longest < largest:
            longest = min(2 * longest, max(largest, longest + 1))
            yield from self._tiles(photo, longest) if longest > TILE else [self.detector.search(photo, longest)]

    def _tiles(self, photo: Tensor, longest: int) -> Iterator[list[Face]]:
        """The same for a copy that is too large to be searched at once."""
        height, width = photo.shape[-2:]
        scale = max(height, width) / longest
        side, step = math.ceil(TILE * scale), math.ceil((TILE - OVERLAP) * scale)
        for top in range(0, max(1, height - math.ceil(OVERLAP * scale)), step):
            for left in range(0, max(1, width - math.ceil(OVERLAP * scale)), step):
                part = photo[:, top : top + side, left : left + side]
                faces = self.detector.search(part, round(max(part.shape[-2:]) / scale))
                shift = torch.tensor((left, top), dtype=torch.float64)
                yield [f._replace(box=f.box + shift.repeat(2), landmarks=f.landmarks + shift) for f in faces]

    def near(self, photo: Tensor, landmarks: Tensor, upright: bool = False) -> Face | None:
        """The face of these landmarks, (5, 2) float64, found again in a close-up.

        upright: whether it must stand the way they say. Otherwise it may stand any quarter turn, and then must be
            seen once more in a close-up in which it is upright.
        None where the close-up shows none, or one that might be none: much looks like a face a little.
        """
        try:
            crop = cut_crop(photo, landmarks, "ffhq", CLOSE)
        except UnusableLandmarks:
            return None
        close = from_uint8(crop.image)[None].to(next(self.detector.parameters()).device)
        evidence = self.detector.evidence(close)
        turns = int(evidence.argmax())
        if float(evidence[turns]) < CLEAR or (turns and upright):
            return None
        face = _in_the_middle(self.detector.decode(close.rot90(turns, (2, 3)))[0])
        if face is None:
            return None
        if not turns:
            return _moved(face, crop.matrix)
        turned = _moved(turned_back(face, turns, CLOSE, CLOSE), crop.matrix)
        return self.near(photo, turned.landmarks, upright=True)

    @torch.inference_mode()
    def in_close_ups(self, crops: Tensor, matrices: Sequence[Tensor]) -> list[Face | None]:
        """The faces in the middle of close-ups.

        crops: (N, 3, CLOSE, CLOSE) RGB in [0, 1], aligned to ffhq by what was known of the face.
        matrices: N times (2, 3) float64, from pixels of the picture to those of the close-up.
        Returns the faces in pixels of the picture, or None.
        """
        given = crops.to(next(self.detector.parameters()).device)
        raw = None
        if self._raw is not None:
            raw = tuple(torch.cat(parts) for parts in zip(*map(self._raw, given.split(1)), strict=True))
        rows = self.detector.decode(given, raw)
        faces = (_in_the_middle(found) for found in rows)
        return [face and _moved(face, matrix) for face, matrix in zip(faces, matrices, strict=True)]


def _in_the_middle(rows: Tensor) -> Face | None:
    """Of what was found in a close-up, (K, 15), the upright face in its middle, in pixels of the close-up."""
    away = ((rows[:, :2] + rows[:, 2:4]) / 2 - rows.new_tensor((0.5, 0.6)) * CLOSE).norm(dim=1)
    if not len(rows) or float(away.min()) > _AMISS * CLOSE:
        return None
    row = rows[away.argmin()]
    face = Face(row[:4], row[4:14].view(5, 2), float(row[14]))
    return face if is_upright(face) else None


def _moved(face: Face, matrix: Tensor) -> Face:
    """A face of a close-up in pixels of the picture. matrix: (2, 3), from these to the close-up."""
    back, (left, top, right, bottom) = invert_affine(matrix), face.box.tolist()
    corners = transform_points(face.box.new_tensor([(left, top), (right, top), (left, bottom), (right, bottom)]), back)
    return Face(torch.cat([corners.amin(0), corners.amax(0)]), transform_points(face.landmarks, back), face.score)


def _apart(found: Sequence[Face]) -> list[Face]:
    """The faces with the highest scores, no two of them in one place."""
    kept: list[Face] = []
    for face in sorted(found, key=lambda face: face.score, reverse=True):
        if not any(_same_place(face, other) for other in kept):
            kept.append(face)
    return kept


def _same_place(one: Face, other: Face) -> bool:
    """Whether boxes overlap by a third, or the middle of one lies well inside of the other."""
    if float(box_iou(one.box[None], other.box[None])) > 1 / 3:
        return True
    middles = ((face.box[:2] + face.box[2:]) / 2 for face in (one, other))
    return float((next(middles) - next(middles)).norm()) < max(one.size, other.size) / 3
