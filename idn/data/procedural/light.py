"""Shading: wrapped diffuse light with a warm terminator, soft shadows of the relief, a sheen."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.procedural.drawing import bump
from idn.data.procedural.parameters import Traits
from idn.data.procedural.pose import Pose
from idn.data.procedural.surface import Face, Hit

WRAP = (0.42, 0.30, 0.26)
"""How far red, green and blue light reach around the terminator: skin scatters red."""
REACH = 0.045
"""Distance towards the light at which the relief is asked for a shadow, in crop widths."""


class Lamp:
    """The light of N samples. Directions are in the image: right, down, towards the camera; (N, 1, 1) each."""

    def __init__(self, attributes: Traits) -> None:
        """attributes: the rows light_x, light_y, light_key and light_warmth are used."""
        azimuth, elevation = torch.deg2rad(attributes["light_x"]), torch.deg2rad(attributes["light_y"])
        level = elevation.cos()
        self.direction = (azimuth.sin() * level, -elevation.sin(), azimuth.cos() * level)
        key, warmth = attributes["light_key"], attributes["light_warmth"]
        tint = torch.stack([1 + warmth, torch.ones_like(warmth), 1 - 1.2 * warmth], 1)
        self.key = 1.05 * key.unsqueeze(1) * tint
        """(N, 3, 1, 1): colour of the directed light."""
        self.ambient = (1.0 - 0.72 * key).unsqueeze(1) * (1.5 - 0.5 * tint)
        """(N, 3, 1, 1): colour of the light from everywhere."""


class Shading(NamedTuple):
    """Light on a face."""

    light: Tensor
    """(N, 3, H, W): what multiplies the skin's colour."""
    sheen: Tensor
    """(N, H, W): what is added on top."""


def normals(face: Face, pose: Pose, hit: Hit, relief: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals seen from the camera: those of the stack of ellipses, tilted by the slope of the relief."""
    slices = face.profile(hit.y)
    x, z = hit.x / slices.width, (hit.z - slices.center) / slices.depth
    y = (x.square() * slices.width_slope).add_(z.square() * slices.depth_slope).mul_(-0.5)
    y -= z * slices.center_slope
    length = (x.square() + y.square()).add_(z.square()).clamp_min_(1e-8).rsqrt_()
    u, v, w = pose.to_camera(x * length, y * length, z * length)
    scale = relief.shape[-1] / (2 * pose.zoom)
    wide = F.pad(relief.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    facing = w.clamp_min(0) * scale
    u = u - (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]) * facing
    v = v - (wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]) * facing
    length = (u.square() + v.square()).add_(w.square()).clamp_min_(1e-8).rsqrt_()
    return u * length, v * length, w * length


def shade(face: Face, pose: Pose, lamp: Lamp, hit: Hit, relief: Tensor) -> Shading:
    """Light the points of `hit`."""
    u, v, w = normals(face, pose, hit, relief)
    lu, lv, lw = lamp.direction
    incidence = u * lu + v * lv + w * lw
    higher = face.relief(hit.x + REACH * lu, hit.y + REACH * lv) - relief
    shadow = (1.15 - (higher - 0.45 * REACH * lw).clamp_min_(0) * 26).clamp_(0.25, 1)
    diffuse = torch.stack([((incidence + wrap) / (1 + wrap)).clamp_min_(0).square_() for wrap in WRAP], 1)
    creases = 1 + relief.clamp_max(0) * 14
    facing = 0.55 + 0.45 * w.clamp_min(0)
    below = 1 - 0.45 * bump(((hit.y - face.chin) / 0.055).square_())
    light = lamp.ambient * (creases * facing * below).unsqueeze(1)
    light += lamp.key * (diffuse * shadow.unsqueeze(1))
    half = (u * lu + v * lv + w * (lw + 1)) * (2 + 2 * lw).rsqrt()
    sheen = half.clamp_min_(0).square_().square_().square_()
    sheen = (0.55 * sheen.square() * sheen).add_(0.08 * sheen).mul_(shadow)
    return Shading(light, sheen)
