"""Background and clothes: a soft gradient, and the high collar that hides the neck.

The neck is covered because its skin would belong to the identity while it lies outside the face.
"""

import torch
from torch import Tensor

from idn.data.procedural.drawing import edge, over
from idn.data.procedural.light import Lamp
from idn.data.procedural.parameters import Traits
from idn.data.procedural.pose import Rays
from idn.data.procedural.textures import Textures, sample


def paint_backdrop(attributes: Traits, lamp: Lamp, rays: Rays, size: int, textures: Textures) -> Tensor:
    """Background and clothes in linear light, (N, 3, size, size)."""
    ticks = (torch.arange(size, device=rays.y.device, dtype=rays.y.dtype) + 0.5) / size
    u, v = ticks.view(1, 1, -1), ticks.view(1, -1, 1)
    top = attributes.color("top_red", "top_green", "top_blue")
    low = attributes.color("low_red", "low_green", "low_blue")
    place = attributes["backdrop_place"]
    shapes = sample(textures.blobs, 0.42 * u + place + 0 * v, 0.42 * v - place + 0 * u)
    image = torch.lerp(top, low, v.unsqueeze(1)) * (1 + attributes["backdrop_blobs"].unsqueeze(1) * shapes)
    image = image.clamp_(0.002, 1)
    _collar(image, attributes, lamp, rays)
    return image


def _collar(image: Tensor, attributes: Traits, lamp: Lamp, rays: Rays) -> None:
    x, y = rays.on_plane(-0.02)
    spread = (y - 0.415).clamp_min(0)
    half = attributes["collar"] + 0.04 * (y - 0.30) + 2.2 * spread
    color = attributes.color("cloth_red", "cloth_green", "cloth_blue")
    round_off = 1 - (x / half).square().clamp_(max=1)
    side = lamp.direction[0] * (x / half).clamp(-1, 1)
    knit = 0.05 * torch.sin(x * (0.2 / attributes["collar"]) * 330) * (y < 0.43)
    shade = (0.42 + 0.42 * round_off + 0.30 * side + knit) * (0.45 + 1.6 * (y - 0.33)).clamp(0.35, 1)
    alpha = torch.minimum(
        edge((half - x.abs()) / (1 + 60 * spread).clamp(max=2.4), 0.4 * rays.pixel + 0.008), edge(y - 0.17, 0.02)
    )
    over(image, color * (lamp.ambient + 0.8 * lamp.key) * shade.unsqueeze(1), alpha)
