"""How every identity encoder gets from a picture of the data set to the crop it was trained on."""

from torch import Tensor

from idn.errors import OptionError
from idn.geometry.templates import TEMPLATES
from idn.geometry.warping import realign


def check_template(argument: str, name: str) -> str:
    """Return `name` if it is an alignment template. Raises OptionError that names the argument and the choices."""
    if not isinstance(name, str) or name not in TEMPLATES:
        raise OptionError(argument, name, f"is no alignment template: choose one of {', '.join(sorted(TEMPLATES))}")
    return name


def face_crop(images: Tensor, crop_template: str, template: str, size: int) -> Tensor:
    """Pictures aligned to `crop_template` -> crops aligned to `template`, (N, 3, size, size), still RGB in [0, 1].

    images: (N, 3, S, S). See `geometry.realign`. Raises ValueError for another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images: expected (N, 3, S, S), got {tuple(images.shape)}")
    return realign(images, crop_template, template, size)
