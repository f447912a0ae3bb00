"""Face alignment templates: where the five landmarks lie in a crop, and the maps between templates."""

import torch
from torch import Tensor

from idn.errors import OptionError
from idn.geometry.affine import fit_similarity


def _native(size: int, points: list[tuple[float, float]]) -> Tensor:
    """Pixel-centre coordinates of a `size` crop -> normalised coordinates."""
    return (torch.tensor(points, dtype=torch.float64) + 0.5) / size


_ARCFACE_V2 = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]

TEMPLATES: dict[str, Tensor] = {
    "arcface_112_v1": _native(
        112, [(39.730, 51.138), (72.270, 51.138), (56.0, 68.493), (42.463, 87.010), (69.537, 87.010)]
    ),
    "arcface_112_v2": _native(112, _ARCFACE_V2),
    "arcface_128": _native(128, [(x + 8, y) for x, y in _ARCFACE_V2]),
    "ffhq": _native(
        512,
        [
            (192.98138, 239.94708),
            (318.90277, 240.1936),
            (256.63416, 314.01935),
            (201.26117, 371.41043),
            (313.08905, 371.15118),
        ],
    ),
    "mobilefsgan": _native(256, [(26 + 203 / 111 * x, 26 + 203 / 111 * y) for x, y in _ARCFACE_V2]),
    "mtcnn": _native(
        512,
        [(187.2018, 239.277), (324.1236, 238.5236), (256.0979, 317.1387), (199.7597, 397.3055), (313.2374, 396.6792)],
    ),
}
"""Five points each, (5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen in the image.

"mobilefsgan" is the crop of 256 px whose pixels 26 to 229 are one of "arcface_112_v2": what MobileFSGAN's training
shows its recogniser. Where it aligns faces is not published; its recogniser was trained on crops like these.
"""


def template_points(name: str) -> Tensor:
    """The (5, 2) float64 points of a template. Raises OptionError with the known names."""
    if name not in TEMPLATES:
        raise OptionError("template", name, f"is unknown: choose one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]


def between_templates(template: str, wanted: str) -> Tensor:
    """(2, 3) constant map from coordinates of crops aligned to `template` to those aligned to `wanted`."""
    return fit_similarity(template_points(template), template_points(wanted))
