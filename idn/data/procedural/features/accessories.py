"""Things in front of the face that a swap must keep: glasses, bars, balls and hands."""

from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.procedural.drawing import edge, over
from idn.data.procedural.light import Lamp
from idn.data.procedural.parameters import Traits
from idn.data.procedural.pose import Pose, Rays

LENS = (0.124, -0.012, 0.36)
"""Centre of a lens: half distance, height, and z of the plane of both."""


class Layer(NamedTuple):
    """Something painted over a picture."""

    color: Tensor
    """(N, 3, H, W) or (N, 3, 1, 1), lit."""
    alpha: Tensor
    """(N, H, W) in [0, 1]."""
    hides: bool = True
    """Whether the face behind no longer counts as visible."""


def paint_accessories(image: Tensor, visible: Tensor, attributes: Traits) -> None:
    """Paint what is worn or held in place on `image`, (N, 3, S, S), and take it off `visible`, (N, S, S).

    Only the samples that wear or hold something are computed.
    """
    for name, draw in (("glasses", _glasses), ("occluder", _occluder)):
        samples = (attributes[name].flatten() > 0).nonzero().flatten()
        if not len(samples):
            continue
        some = attributes.take(samples)
        picture, seen = image[samples], visible[samples]
        for layer in draw(some, Lamp(some), Pose(some).rays(image.shape[-1])):
            over(picture, layer.color, layer.alpha)
            if layer.hides:
                seen *= 1 - layer.alpha
        image[samples], visible[samples] = picture, seen


def _glasses(attributes: Traits, lamp: Lamp, rays: Rays) -> tuple[Layer, Layer]:
    """Lenses, through which the face stays visible, and frame."""
    gx, gy = rays.on_plane(LENS[2])
    half = attributes["glasses_size"]
    x, y = (gx.abs() - LENS[0]) / half, (gy - LENS[1]) / (half * 0.80)
    x2, y2 = x.square(), y.square()
    bulk = x2 + y2
    boxy = (x2 * x2 + y2 * y2).sqrt_()
    far = torch.lerp(boxy, bulk, attributes["glasses_round"]).sqrt_()
    inside = (1 - far) * (half * 0.85)
    frame = edge(0.0058 - inside.abs(), rays.pixel)
    bridge = torch.minimum(0.0055 - (gy - LENS[1] + 0.022).abs(), LENS[0] - half - gx.abs())
    arm = torch.minimum(0.0055 - (gy - LENS[1] + 0.016).abs(), gx.abs() - LENS[0] - half)
    arm = torch.minimum(arm, 0.262 - gx.abs())
    frame = torch.maximum(frame, edge(torch.maximum(bridge, arm), rays.pixel))
    glare = 0.10 * edge(0.35 - (x + y).abs(), 0.3)
    tint = attributes["glasses_tint"] + glare
    ambient = lamp.ambient + 0.5 * lamp.key
    lens_color = (ambient * 0.05).expand(-1, -1, *gx.shape[1:]) + (0.55 * glare / tint).unsqueeze(1)
    lens = Layer(lens_color, edge(inside, rays.pixel).mul_(tint), hides=False)
    tone = attributes["glasses_tone"].unsqueeze(1).square()
    return lens, Layer(tone * ambient, frame)


def _occluder(attributes: Traits, lamp: Lamp, rays: Rays) -> tuple[Layer]:
    """A bar, a ball or a hand in the image plane."""
    kind, r = attributes["occluder"], attributes["occluder_size"]
    angle = torch.deg2rad(attributes["occluder_angle"])
    x, y = rays.on_plane(0.40)
    x, y = x - attributes["occluder_x"], y - attributes["occluder_y"]
    along, side = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    finger = side - 1.45 * r * (side / (1.45 * r)).round().clamp_(-1, 2)
    over_tip = (along - 0.35 * r * (2 - (side / (1.45 * r)).round().abs())).clamp_min(0)
    hand = 0.68 * r - (finger.square() + over_tip.square()).sqrt_()
    palm = torch.minimum(2.4 * r - (side - 0.6 * r).abs(), -1.6 * r - along)
    hand = torch.maximum(hand, palm)
    ball = 1.5 * r - (along.square() + side.square()).sqrt_()
    bar = 0.9 * r - side.abs()
    inside = torch.where(kind < 1 / 3, bar, torch.where(kind < 2 / 3, ball, hand))
    relief = 0.45 + 0.75 * (inside / (0.7 * r)).clamp(0, 1).sqrt_()
    color = attributes.color("occluder_red", "occluder_green", "occluder_blue") * (lamp.ambient + 0.6 * lamp.key)
    return (Layer(color * relief.unsqueeze(1), edge(inside, rays.pixel)),)
