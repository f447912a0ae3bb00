"""Whether a detector sees a face where that of the target is."""

import math

import torch
from torch import Tensor

from idn.data.alignment.detector import Detector
from idn.images import to_uint8

_NEAR = 1.0
"""How far the middle of the landmarks may lie from the target's, in distances of the target's eyes."""


def faces_found(detector: Detector, images: Tensor, points: Tensor) -> Tensor:
    """(N,) float: 1 where the detector sees a face in its place, 0 where it sees none or one elsewhere.

    images: (N, 3, S, S) RGB in [0, 1].
    points: (N, 5, 2) landmarks of the targets in normalised coordinates.
    """
    places = points.double().cpu() * images.shape[-1]
    reach = _NEAR * (places[:, 1] - places[:, 0]).norm(dim=1)
    found = []
    for picture, place, far in zip(to_uint8(images).cpu(), places.mean(1), reach, strict=True):
        middles = [face.landmarks.mean(0) for face in detector(picture)]
        found.append(float(any((middle - place).norm() <= far for middle in middles)))
    return torch.tensor(found, dtype=torch.float32)


def where_found(landmarks: Tensor, found: Tensor | None) -> Tensor:
    """Landmarks, (N, 68, 2), NaN where there is no face: a model of landmarks puts them anywhere.

    found: see `faces_found`; None where nobody looked.
    """
    if found is None:
        return landmarks
    return landmarks.masked_fill((found == 0).to(landmarks.device)[:, None, None], math.nan)
