"""dlib's face recogniser: a ResNet with 29 convolutions and 128 numbers per face (LFW 99.38 %), and its 68 landmarks.

Both run in dlib, on the CPU and without gradients: they judge pictures, and nothing can be trained with them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.encoders.input_crop import check_template
from idn.errors import UserError
from idn.files.dlib_models import LANDMARKS, LANDMARKS_LICENCE, RECOGNISER, dlib_file, import_dlib
from idn.geometry.templates import template_points
from idn.images import to_uint8
from idn.types import IdentityFeatures

_DOWN, _HALF = 0.475, 1.165
"""Where dlib's own detector draws its box around five landmarks: the centre, as a share of the way from the eyes to the
mouth, and half of the side, in units of the mean of that way and the distance of the eyes. Medians over 43 portraits;
the detector itself overlooks a fifth of them."""


class DlibLandmarks:
    """Finds 68 landmarks of faces whose five are known roughly.

    path: of the model's file; None takes the one of the package face-recognition-models.
    Raises UserError where dlib or the file is missing.
    """

    licence = LANDMARKS_LICENCE

    def __init__(self, path: str | Path | None = None) -> None:
        dlib = import_dlib()
        self.path = dlib_file(LANDMARKS, path)
        self._predict = _opened(dlib.shape_predictor, self.path)

    def shapes(self, images: Tensor, points: Tensor) -> list[tuple[np.ndarray, Any]]:
        """By picture, its bytes (S, S, 3) and dlib's shape. Arguments as in `__call__`."""
        arrays = to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        boxes = face_boxes(points.cpu().double() * images.shape[-1])
        return [(array, self._predict(array, box)) for array, box in zip(arrays, boxes, strict=True)]

    def __call__(self, images: Tensor, points: Tensor) -> Tensor:
        """The landmarks, (N, 68, 2) float32 in normalised coordinates.

        images: (N, 3, S, S) RGB in [0, 1].
        points: (N, 5, 2) eyes, nose tip and corners of the mouth in normalised coordinates.
        """
        found = [[(p.x + 0.5, p.y + 0.5) for p in shape.parts()] for _, shape in self.shapes(images, points)]
        return torch.tensor(found, dtype=torch.float32) / images.shape[-1]


class DlibEncoder(nn.Module):
    """dlib's recogniser, which finds the landmarks by which it turns and cuts a face itself.

    crop_template: alignment template of the pictures it will be given; it tells where to look for the landmarks.
    weights, landmarks: files of both models; None takes those of the package face-recognition-models.
    Raises UserError where dlib or a file is missing.
    """

    name, licence = "dlib ResNet", f"CC0; its landmarks: {LANDMARKS_LICENCE}"
    embedding_dim, feature_channels, feature_size = 128, 128, 1
    input_size = 150

    def __init__(
        self, crop_template: str, weights: str | Path | None = None, landmarks: str | Path | None = None
    ) -> None:
        super().__init__()
        self.template = self.crop_template = check_template("crop_template", crop_template)
        dlib = import_dlib()
        self.weights_file = dlib_file(RECOGNISER, weights)
        self.landmarks = DlibLandmarks(landmarks)
        self._describe = _opened(dlib.face_recognition_model_v1, self.weights_file)
        self.points = template_points(crop_template)

    @torch.no_grad()
    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1]. The map of features is the embedding, (N, 128, 1, 1)."""
        shapes = self.landmarks.shapes(images, self.points.expand(len(images), 5, 2))
        found = [np.asarray(self._describe.compute_face_descriptor(array, shape)) for array, shape in shapes]
        values = torch.from_numpy(np.stack(found)).float().to(images.device)
        unit = F.normalize(values)
        return IdentityFeatures(unit, unit[:, :, None, None], (), values.norm(dim=1))


def face_boxes(points: Tensor) -> list[Any]:
    """dlib's boxes around faces. points: (N, 5, 2) in pixels."""
    dlib = import_dlib()
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    middle = eyes + _DOWN * (mouth - eyes)
    half = _HALF * ((points[:, 1] - points[:, 0]).norm(dim=1) + (mouth - eyes).norm(dim=1)) / 2
    corners = torch.cat([middle - half[:, None], middle + half[:, None]], 1).round().int().tolist()
    return [dlib.rectangle(*corner) for corner in corners]


def _opened(kind: Any, path: Path) -> Any:
    try:
        return kind(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} is no model of dlib's, or it is damaged ({str(error).splitlines()[0]})") from error
