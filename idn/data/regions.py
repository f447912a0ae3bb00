"""Face region mask of a crop: what a swap may change."""

from typing import Protocol

import torch
from torch import Tensor

from idn.files.option_checks import require_number, require_one_of
from idn.geometry.affine import fit_similarity, transform_points
from idn.geometry.templates import TEMPLATES, template_points


class FaceRegions(Protocol):
    """Says which pixels belong to the face."""

    def __call__(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """images: (N, 3, S, S) RGB in [0, 1]; landmarks: (N, 5, 2) in normalised coordinates, where they are known.

        Returns (N, 1, S, S): 1 inside the face, 0 outside, between the two on its edge.
        """
        ...


_CENTRE = (0.5, 0.56)
_HALF_WIDTH, _HALF_HEIGHT = 0.27, 0.32
_CHIN = 0.2
"""An average face in the "ffhq" framing: an egg from hairline to chin, by `_CHIN` narrower at its lower end."""


class LandmarkRegions:
    """A face shape, forehead to chin, laid over five landmarks. No network; knows nothing of hair and glasses."""

    def __init__(self, template: str, edge: float = 0.15) -> None:
        """Choose the shape.

        template: alignment template of the crops, used where no landmarks are known. edge: width of the soft edge as a
        share of the face's radius, half of it inside, from 0.001 to 1. Raises OptionError for another edge and an
        unknown template.
        """
        require_number("edge", edge, 0.001, 1)
        require_one_of("template", template, TEMPLATES)
        self.points, self.edge = template_points(template), edge

    def __call__(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """As in FaceRegions; without landmarks every image gets the region of an average face."""
        size = images.shape[-1]
        points = self.points.expand(len(images), 5, 2) if landmarks is None else landmarks.double()
        to_average = fit_similarity(points, template_points("ffhq").to(points))
        steps = (torch.arange(size, dtype=points.dtype, device=points.device) + 0.5) / size
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        places = transform_points(torch.stack([x, y], -1).view(1, -1, 2), to_average)
        u, v = ((places - places.new_tensor(_CENTRE)) / places.new_tensor((_HALF_WIDTH, _HALF_HEIGHT))).unbind(-1)
        radius = torch.hypot(u / (1 - _CHIN * v.clamp(0, 1)), v)
        depth = ((1 - radius) / self.edge + 0.5).clamp(0, 1)
        smooth = depth * depth * (3 - 2 * depth)
        return smooth.view(len(images), 1, size, size).to(images)
