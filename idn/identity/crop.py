"""How every identity encoder gets from a picture of the data set to the crop it was trained on."""

from math import sqrt

from torch import Tensor

from idn.errors import UserError
from idn.geometry import TEMPLATES, between_templates, reframe
from idn.images import resize


def check_template(option: str, name: str) -> str:
    """Return `name` if it is an alignment template. Raises UserError that names the option and the choices."""
    if name not in TEMPLATES:
        raise UserError(f"{option}={name} is no alignment template: choose one of {', '.join(sorted(TEMPLATES))}")
    return name


def face_crop(images: Tensor, frame: str, template: str, size: int) -> Tensor:
    """Pictures framed as `frame` -> crops framed as `template`, (N, 3, size, size), still RGB in [0, 1].

    images: (N, 3, S, S). Equal names mean a resize and nothing else. Otherwise one bilinear warp, after an anti-aliased
    resize where an output pixel would skip input pixels, that is, where the face shrinks by more than 2. Raises
    ValueError for another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images: expected (N, 3, S, S), got {tuple(images.shape)}")
    if frame != template:
        linear = between_templates(frame, template)[:, :2]
        even = round(size * sqrt(float(linear.det())))
        if images.shape[-1] > 2 * even:
            images = resize(images, even)
    return reframe(images, frame, template, size)
