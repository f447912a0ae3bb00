"""Hair: a shell over the skull, open around the face, and a curtain behind the head. Both belong to the attributes.

There are no ears: the hair always covers their place, as their skin would be a second part of the face.
"""

import torch
from torch import Tensor

from idn.data.procedural.drawing import HAIR, bump, edge, palette
from idn.data.procedural.light import Lamp
from idn.data.procedural.parameters import Traits
from idn.data.procedural.pose import Pose, Rays
from idn.data.procedural.textures import Textures, sample

CENTER = (0.0, -0.085, -0.04)
CURTAIN = -0.06
"""z of the hair behind the head."""


class Hair:
    """The hair in N views, ready to be painted: what lies behind the head, and what lies over it."""

    def __init__(self, attributes: Traits, pose: Pose, lamp: Lamp, rays: Rays, textures: Textures) -> None:
        """Uses the rows hair_*."""
        self._traits = attributes
        bx, by = rays.on_plane(CURTAIN)
        fan = (bx - attributes["hair_part"]) / (by + 0.80).clamp_min(0.15)
        place = attributes["hair_strands"]
        self._strands = sample(textures.strands, 1.1 * fan + place, 0.9 * by + place).squeeze(1)
        tone = palette(HAIR, attributes["hair_tone"])
        self.front, outline, shell = self._shell(rays)
        inner = edge(attributes["hair_length"].clamp_min(0.05) - by, 0.02).mul_(outline)
        self.back = torch.maximum(self._curtain(bx, by, rays.pixel), inner)
        sheen = self._sheen(shell, pose, lamp)
        light = lamp.ambient + lamp.key * 0.55
        body = tone * light
        self.color = body * (0.85 + 0.50 * self._strands).clamp_min_(0.12).unsqueeze(1) * sheen.unsqueeze(1)
        """(N, 3, H, W), lit."""

    def _shell(self, rays: Rays) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Hair on the shell, the outline of the whole shell, (N, H, W) each, and its points, on the unit sphere."""
        volume = self._traits["hair_volume"]
        radii = (0.318 + volume, 0.402 + volume, 0.385 + volume)
        start = [(p - c) / r for p, c, r in zip((rays.x, rays.y, rays.z), CENTER, radii, strict=True)]
        step = [d / r for d, r in zip(rays.direction, radii, strict=True)]
        a = sum(d.square() for d in step)
        b = sum(p * d for p, d in zip(start, step, strict=True)) / a
        room = b.square() - (sum(p.square() for p in start) - 1) / a
        depth = room.clamp_min(0).sqrt_().sub_(b)
        x, y, z = (p + depth * d for p, d in zip(start, step, strict=True))
        fringe = self._traits["hair_fringe"].clamp_min(0)
        rough = (0.010 + 0.040 * fringe) * self._strands
        covered = self._open(x * radii[0], y * radii[1] + CENTER[1], z * radii[2] + CENTER[2]) + rough
        soft = 0.030 - 0.022 * fringe + rays.pixel
        outline = edge(0.9 * room + 0.011 * self._strands, 0.006 + 1.2 * rays.pixel)
        return edge(covered, soft).mul_(outline), outline, (x, y, z)

    def _open(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Signed distance to the opening around the face, positive on hair."""
        sides, length, part = self._traits["hair_sides"], self._traits["hair_length"], self._traits["hair_part"]
        fringe = self._traits["hair_fringe"].clamp_min(0)
        q = (x / 0.268).square_()
        q3 = q.square().mul_(q)
        bare = self._traits["hair_line"]
        line = bare + (0.03 - fringe * (bare + 0.16)) * (1 - 0.5 * bump(((x - part) / 0.10).square_()))
        line = line - 0.35 * part * x + (0.10 + 0.24 * sides) * q3
        line += (0.05 - z).clamp_min_(0).mul_(1.6)
        return torch.minimum(line - y, length.clamp_min(0.05) - y)

    def _curtain(self, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
        volume, length = self._traits["hair_volume"], self._traits["hair_length"]
        half = 0.315 + volume + 0.035 * (y / 0.4).clamp_(-1, 1.2)
        ends = length - y + 0.05 * self._strands
        top = bump(((y + 0.05).clamp_max_(0) / 0.36).square_())
        inside = half * top.sqrt() - x.abs() - 0.02 + 0.02 * top * self._strands
        return edge(torch.minimum(inside, ends), 0.008 + pixel)

    def _sheen(self, shell: tuple[Tensor, Tensor, Tensor], pose: Pose, lamp: Lamp) -> Tensor:
        u, v, w = pose.to_camera(*shell)
        lu, lv, lw = lamp.direction
        facing = (u * lu + v * lv + w * lw).clamp_(-0.3, 1)
        band = bump(((shell[1] + 0.62 + 0.10 * self._strands) / 0.26).square_())
        return 0.62 + 0.55 * facing + band * (0.9 * facing.clamp_min(0))
