"""Head pose: orthographic projection of a rigid head, from pixels to head coordinates and back.

Head coordinates: x to the image right, y down, z towards the camera, in crop widths; a frontal head without framing
error shows the point (x, y, z) at (0.5 + x, 0.5 + y) of the crop.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.procedural.parameters import Traits

PIVOT = (0.0, 0.06, 0.20)
"""The point of the head that the pose leaves in place: chosen so that the eyes stay near their template."""


class Rays(NamedTuple):
    """One ray per pixel: origin + depth * direction, depth growing towards the camera."""

    x: Tensor
    """(N, H, W): origin of the ray."""
    y: Tensor
    z: Tensor
    direction: tuple[Tensor, Tensor, Tensor]
    """(N, 1, 1) each, a unit vector, the same for all pixels."""
    pixel: Tensor
    """(N, 1, 1): width of a pixel in head coordinates."""

    def on_plane(self, z: float) -> tuple[Tensor, Tensor]:
        """x and y, (N, H, W) each, where the rays meet a plane of constant z."""
        dx, dy, dz = self.direction
        depth = (z - self.z) / dz
        return self.x + depth * dx, self.y + depth * dy


class Pose:
    """Where the heads are: rotation, framing shift and scale of N samples."""

    def __init__(self, attributes: Traits) -> None:
        """attributes: the rows yaw, pitch, roll, shift_x, shift_y and zoom are used."""
        yaw, pitch, roll = (attributes[name] * (math.pi / 180) for name in ("yaw", "pitch", "roll"))
        cy, sy, cp, sp, cr, sr = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
        right = (cy, torch.zeros_like(cy), sy)
        down = (-sp * sy, cp, sp * cy)
        self.toward = (-cp * sy, -sp, cp * cy)
        self.right = tuple(cr * a - sr * b for a, b in zip(right, down, strict=True))
        self.down = tuple(sr * a + cr * b for a, b in zip(right, down, strict=True))
        self.zoom = attributes["zoom"]
        self.center = (0.5 + PIVOT[0] + attributes["shift_x"], 0.5 + PIVOT[1] + attributes["shift_y"])

    def rays(self, size: int) -> Rays:
        """The rays of a size x size crop."""
        ticks = (torch.arange(size, device=self.zoom.device, dtype=self.zoom.dtype) + 0.5) / size
        u = (ticks.view(1, 1, -1) - self.center[0]) / self.zoom
        v = (ticks.view(1, -1, 1) - self.center[1]) / self.zoom
        x, y, z = ((pivot + a * u) + b * v for pivot, a, b in zip(PIVOT, self.right, self.down, strict=True))
        return Rays(x, y, z, self.toward, 1 / (size * self.zoom))

    def project(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Head points, (N, 1, K) each -> (N, K, 2) in normalised crop coordinates."""
        px, py, pz = x - PIVOT[0], y - PIVOT[1], z - PIVOT[2]
        axes = (self.right, self.down)
        uv = [c + self.zoom * (a[0] * px + a[1] * py + a[2] * pz) for c, a in zip(self.center, axes, strict=True)]
        return torch.cat(uv, 1).mT

    def to_camera(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotate head vectors into image right, image down, towards the camera."""
        axes = (self.right, self.down, self.toward)
        u, v, w = (a[0] * x + a[1] * y + a[2] * z for a in axes)
        return u, v, w
