"""A swapper without weights: the source's inner face, recoloured and blended into the target."""

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from kornia.filters import gaussian_blur2d
from torch import Tensor

from idn.geometry.templates import template_points
from idn.images import resize
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.catalogue import FAMILIES
from teachers.record import FaceInput, SourceInput, TeacherRecord

_TERMS = FAMILIES["blend"]
RECORD = TeacherRecord(
    name="blend",
    licence=_TERMS.licence,
    commercial=_TERMS.commercial,
    target=FaceInput(),
    source=SourceInput("nothing"),
    full_precision=True,
)
_SOFT = 0.12
"""Width of the mask's falling edge, inside the egg, in parts of its radius."""
_GAIN = (0.7, 1.4)
"""Limits of the contrast gain per Lab channel: beyond them noise grows or the face turns flat."""
_LIGHT_SIZE = 32
"""Pixels of the map that describes the light: what is slower than a ninth of the crop counts as light."""
_COARSEST = 14
"""Pixels of the smallest pyramid level: seams of colour spread over about this fraction of the crop."""


class BlendTeacher(FrozenTeacher):
    """Transplants the inner face (brows, eyes, nose, mouth) of template-aligned sources into their targets.

    The colours of the inner face are matched in Lab (Reinhard et al. 2001), first as a whole, then its slow changes
    over the face, which carry most of the light; a Laplacian pyramid joins the two pictures (Burt and Adelson 1983).
    Deterministic; no sample sees another; outside the inner face, and where `batch.face` is 0, the target is untouched.

    What it cannot do: it keeps the source's expression, gaze, pose, glasses and hard shadows; it leaves the target's
    face shape, forehead and jaw as they are; heads turned differently get double contours of nose and cheek. Give it
    frontal, well-lit pairs, and let the trust weight what it makes of the rest.

    crop_template: template of the crops (idn.geometry.templates.TEMPLATES).
    """

    def __init__(self, crop_template: str) -> None:
        super().__init__(RECORD, crop_template)
        self.register_buffer("points", template_points(crop_template).float(), persistent=False)
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """target: (N, 3, S, S) RGB in [0, 1], S >= 32. Returns (N, 3, S, S) RGB in [0, 1]."""
        mask = self.inner_face(target.shape[-1]) * batch.face
        recoloured = _match_light(_match_colours(batch.source, target, mask), target, mask)
        blended = _multiband(recoloured, target, mask)
        return target + mask * (blended.clamp(0, 1) - target)

    def inner_face(self, size: int) -> Tensor:
        """(1, 1, size, size) in [0, 1]: 1 well inside, 0 outside an egg from the brows to below the lower lip."""
        eyes, mouth = self.points[:2].mean(0), self.points[3:].mean(0)
        down, apart = mouth - eyes, (self.points[1] - self.points[0]).norm()
        height = down.norm()
        down = down / height
        line = (torch.arange(size, device=self.points.device, dtype=self.points.dtype) + 0.5) / size
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) - (eyes + mouth) / 2
        y = (grid @ down) / height
        x = (grid[..., 0] * down[1] - grid[..., 1] * down[0]) / apart
        half_width = 0.96 - 0.24 * y
        radius = ((x / half_width).abs() ** 2.5 + ((y + 0.02) / 0.98).abs() ** 2.5) ** (1 / 2.5)
        edge = ((1 - radius) / _SOFT).clamp(0, 1)
        return (edge.square() * (3 - 2 * edge))[None, None]


def _moments(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel under the mask, (N, C, 1, 1) each."""
    weight = mask / mask.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean = (images * weight).sum((2, 3), keepdim=True)
    return mean, ((images - mean).square() * weight).sum((2, 3), keepdim=True).sqrt()


def _match_colours(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The source with the target's mean and, within limits, spread of each Lab channel under the mask."""
    lab = rgb_to_lab(source)
    mean, spread = _moments(lab, mask)
    wanted_mean, wanted_spread = _moments(rgb_to_lab(target), mask)
    gain = (wanted_spread / spread.clamp_min(1e-3)).clamp(*_GAIN)
    return lab_to_rgb((lab - mean) * gain + wanted_mean)


def _match_light(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Replace part of the source's slow brightness changes by the target's, both averaged under the mask alone."""
    weight = resize(mask, _LIGHT_SIZE)
    spread = _blur(weight).clamp_min(1e-3)
    change = _blur(resize(target - source, _LIGHT_SIZE) * weight) / spread
    return source + 0.7 * resize(change, source.shape[-1])


def _blur(images: Tensor) -> Tensor:
    return gaussian_blur2d(images, (15, 15), (3.5, 3.5), "constant")


def _multiband(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """Join two pictures along a soft mask, each frequency band over a seam as wide as its waves."""
    mask = mask.expand(len(inside), 1, *inside.shape[2:])
    if inside.shape[-1] // 2 < _COARSEST:
        return outside + mask * (inside - outside)
    half = inside.shape[-1] // 2
    small = [resize(x, half) for x in (inside, outside, mask)]
    fine = [x - resize(y, x.shape[-1]) for x, y in zip((inside, outside), small[:2], strict=True)]
    return resize(_multiband(*small), inside.shape[-1]) + fine[1] + mask * (fine[0] - fine[1])
