"""One decoded frame as the swap sees it: small copies to search, crops to swap, pastes, all in its own planes."""

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idn.data.alignment.detector import Face, turned_back
from idn.data.alignment.every_face import CLOSE
from idn.geometry.affine import fit_similarity
from idn.geometry.templates import template_points
from idn.provenance.stamp import Stamp
from idn.video.pixel_formats import planes_of
from idn.video.planes import Colours, cut, paste
from idn.video.reading import VideoInfo

if TYPE_CHECKING:
    from av import VideoFrame

_LEAST_SIDE = 8.0
"""Pixels of a crop's side in the frame from which a face can be cut."""


class FramePicture:
    """A frame whose faces are found and replaced. Landmarks are in pixels of equal height and width, not turned.

    frame: in one of the formats of idn.video.planes, with the pixels of its video.
    """

    def __init__(self, frame: "VideoFrame", info: VideoInfo, colours: Colours) -> None:
        self.frame, self._info, self._colours = frame, info, colours
        self.time = float(frame.pts * info.time_base)
        self._widen = torch.tensor([[float(info.pixel_aspect), 0, 0], [0, 1, 0]], dtype=torch.float64)

    @cached_property
    def _planes(self) -> list:
        return planes_of(self.frame, self._colours.bits)

    def searched(self, longest: int) -> tuple[Tensor, float]:
        """A small copy, shown as viewers see it, (3, h, w) uint8 RGB, and how many pixels one of it stands for."""
        width, height = self._info.width * float(self._info.pixel_aspect), float(self._info.height)
        scale = max(1.0, max(width, height) / longest)
        small = self.frame.reformat(
            width=max(8, round(width / scale)),
            height=max(8, round(height / scale)),
            format="rgb24",
            interpolation="AREA",
        )
        pixels = torch.from_numpy(small.to_ndarray()).permute(2, 0, 1)
        return pixels.rot90(self._info.turns, (1, 2)).contiguous(), scale

    def put_back(self, face: Face, copy: Tensor, scale: float) -> Face:
        """A face of such a copy in our own pixels."""
        height, width = copy.shape[-2:]
        turns = self._info.turns
        if turns:
            stored = (width, height) if turns % 2 else (height, width)
            face = turned_back(face, turns, *stored)
        return face._replace(box=face.box * scale, landmarks=face.landmarks * scale)

    def onto(self, landmarks: Tensor, template: str, size: int) -> Tensor | None:
        """(2, 3) from stored pixels to those of a crop; None where the landmarks show no place."""
        fit = fit_similarity(landmarks, template_points(template)) * size
        scale = float(fit[:, :2].det().abs().sqrt())
        if not 0 < scale * _LEAST_SIDE <= size:
            return None
        return torch.cat([fit[:, :2] @ self._widen[:, :2], fit[:, 2:]], 1)

    def crop(self, onto: Tensor, size: int) -> Tensor:
        """(3, size, size) RGB in [0, 1]."""
        return cut(self._planes, self._colours, onto, size)

    def close_up(self, landmarks: Tensor) -> tuple[Tensor, Tensor] | None:
        """A close-up of a face, (3, CLOSE, CLOSE), and (2, 3) from our pixels to those of it."""
        onto = self.onto(landmarks, "ffhq", CLOSE)
        if onto is None:
            return None
        narrow = torch.cat([onto[:, :2] @ torch.linalg.inv(self._widen[:, :2]), onto[:, 2:]], 1)
        return self.crop(onto, CLOSE), narrow

    def paste(self, image: Tensor, share: Tensor, onto: Tensor) -> None:
        """Put a crop into the frame. image: (3, S, S); share: (1, S, S); both in [0, 1]."""
        paste(self._planes, self._colours, image, share, onto)

    def stamp(self, stamp: Stamp) -> None:
        """Put the invisible mark into the brightness of a frame of ours; others stay as they are."""
        if self._ours and self._colours.bits == 8:
            plane = self._planes[0]
            plane[...] = stamp.pixels(plane, not self._colours.full)

    _ours = False

    def own(self) -> None:
        """Make the pixels ours: those of a decoder serve it for the frames that follow."""
        self.frame.make_writable()
        self._ours = True
        self.__dict__.pop("_planes", None)
