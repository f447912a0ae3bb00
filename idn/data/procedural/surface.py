"""Face geometry by ray casting: a stack of ellipses from chin to crown, with a relief of nose, lips and cheeks on it.

A point lies on the head where (x / W(y))^2 + ((z - C(y)) / D(y))^2 = (1 + relief(x, y) / DEPTH)^2. The frontal outline
W and the profile, C and D, are polynomials of y; the relief is a sum of smooth hills in crop widths.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from idn.data.procedural.drawing import bump, oval, smooth
from idn.data.procedural.parameters import Traits
from idn.data.procedural.pose import Pose, Rays

DEPTH = 0.33
"""Half depth of the head."""
MIDDLE = -0.05
"""Height of its widest slice."""
CROWN = 0.40
"""From there to the top."""
BACK = 0.17
"""How far the slices move forward towards the chin: a jaw has no back of the head behind it."""
STEPS = 3
"""Fixed-point steps of an intersection: after three, the point found lies 0.04 pixels off on average and less than one
for 99 % of the pixels, at 224 pixels and against twelve steps."""


class Profile(NamedTuple):
    """Slices at some heights: squared half axes and their derivatives by y."""

    width: Tensor
    width_slope: Tensor
    depth: Tensor
    depth_slope: Tensor
    center: Tensor
    """z of the middle of the slice."""
    center_slope: Tensor
    room: Tensor
    """Like `width`, but negative beyond chin and crown."""


class Hit(NamedTuple):
    """Where rays meet a face, (N, H, W) each."""

    x: Tensor
    y: Tensor
    z: Tensor
    depth: Tensor
    """Position along the ray, as in `Rays`."""
    room: Tensor
    """Squared half chord of the ray inside the head: negative where it passes by."""

    def rows(self, band: tuple[float, float]) -> tuple[slice, "Hit"]:
        """The pixel rows between two heights in [0, 1] of the crop, and the hits there."""
        size = self.y.shape[1]
        rows = slice(int(band[0] * size), math.ceil(band[1] * size))
        return rows, Hit(*(field[:, rows] for field in self))


class Face:
    """The shape that identity and expression give to N faces. Every attribute is (N, 1, 1)."""

    def __init__(self, identity: Traits, attributes: Traits) -> None:
        """Both are read; of the attributes only the expression."""
        self.id = identity
        self.smile = attributes["smile"]
        self.open = attributes["mouth_open"].clamp_min(0)
        self.mouth_width = identity["mouth_width"] * (1 + 0.10 * self.smile - 0.06 * self.open)
        self.mouth_y = identity["mouth_y"]
        self.corner_lift = 0.016 * self.smile
        self.gap = 0.040 * self.open
        self.chin = identity["chin_y"] + 0.028 * self.open
        self.brow_y = identity["eye_y"] - identity["brow_y"] - attributes["brow_raise"]
        self.brow_raise = attributes["brow_raise"]

    def profile(self, y: Tensor) -> Profile:
        """Slices at the heights y, (N, ...)."""
        height = self.chin - MIDDLE
        up = ((MIDDLE - y) / CROWN).clamp_(0, 1.2)
        low = ((y - MIDDLE) / height).clamp_(0, 1.2)
        up2, low2 = up.square(), low.square()
        square, taper = self.id["jaw_square"], self.id["jaw_taper"]
        size = self.id["face_width"].square()
        inner = 1 - low2 * ((1 - square) + square * low2)
        narrow = 1 - taper * low2
        width = inner * narrow - up2 * (0.5 + 0.5 * up2)
        fall = low * (2 * (1 - square) + 4 * square * low2) * narrow + 2 * taper * low * inner
        width_slope = up * (1 + 2 * up2) / CROWN - fall / height
        low4 = low2 * low2
        center, back = BACK * low2, DEPTH - BACK * low2
        depth = 1 - up2 * (0.35 + 0.65 * up2) - 0.22 * low2 - 0.78 * low4 * low4
        fall = low * (0.44 + 6.24 * low4 * low2) / height
        depth_slope = back.square() * (up * (0.7 + 2.6 * up2) / CROWN - fall)
        depth_slope -= (4 * BACK / height) * low * back * depth
        room = size * width
        depth = (back.square() * depth).clamp_min_(1e-4)
        center_slope = (2 * BACK / height) * low
        return Profile(room.clamp_min(1e-4), size * width_slope, depth, depth_slope, center, center_slope, room)

    def relief(self, x: Tensor, y: Tensor) -> Tensor:
        """Height over the stack of ellipses, in crop widths, at head coordinates."""
        across = x.abs()
        height = self._nose(x, y, across)
        height += self._eyes(across, y)
        height += self.id["cheekbones"] * bump(oval(across - 0.165, y - 0.055, 0.10, 0.085))
        height += 0.014 * self.smile.clamp_min(0) * bump(oval(across - 0.125, y - 0.115, 0.075, 0.065))
        height += self.id["forehead"] * bump(oval(x, y + 0.185, 0.19, 0.115))
        height += self._mouth(x, y)
        height += (0.004 + self.id["chin_relief"]) * bump(oval(x, y - self.chin + 0.075, 0.085, 0.06))
        return height

    def _nose(self, x: Tensor, y: Tensor, across: Tensor) -> Tensor:
        root, tip = self.id["eye_y"] - 0.012, self.id["nose_y"]
        along = (y - root) / (tip - root)
        t = along.clamp(0, 1)
        rise = t * t
        high = self.id["nose_bridge"] * (1 - rise) + self.id["nose_height"] * rise
        high *= smooth(1 + along * 1.6) * bump(((y - tip).clamp_min_(0) / 0.040).square_())
        wide = self.id["nose_bridge_width"] + (self.id["nose_width"] + 0.008 - self.id["nose_bridge_width"]) * rise
        high *= bump((x / wide).square_())
        bulb, wing = self.id["nose_bulb"], self.id["nose_width"]
        high += bulb * bump(oval(x, y - tip + 0.004, 0.036, 0.034))
        high += 0.024 * bump(oval(across - wing * 0.80, y - tip - 0.008, wing * 0.52, 0.028))
        return high

    def _eyes(self, across: Tensor, y: Tensor) -> Tensor:
        x, y = across - self.id["eye_x"], y - self.id["eye_y"]
        height = -self.id["eye_depth"] * bump(oval(x + 0.012, y + 0.006, 0.088, 0.056))
        height += 0.018 * bump(oval(x, y, 0.056, 0.040))
        height += (0.004 + self.id["brow_ridge"]) * bump(oval(x + 0.02, y + 0.062 + self.brow_raise, 0.115, 0.040))
        return height

    def _mouth(self, x: Tensor, y: Tensor) -> Tensor:
        y = y - self.mouth_y
        upper, lower = self.id["upper_lip"], self.id["lower_lip"]
        height = 0.018 * bump(oval(x, y, 0.14, 0.115))
        height += 0.014 * bump(oval(x, y + 0.45 * upper, self.mouth_width * 0.9, 0.85 * upper + 0.004))
        height += 0.018 * bump(oval(x, y - 0.55 * lower - self.gap, self.mouth_width * 0.8, 0.85 * lower + 0.004))
        height -= 0.008 * bump(oval(x, y - lower - self.gap - 0.018, 0.06, 0.022))
        return height

    def meet(self, rays: Rays, y: Tensor, relief: Tensor) -> Hit:
        """Meet the slices found at the heights y, raised by `relief`."""
        slices = self.profile(y)
        across, along = slices.width.reciprocal(), slices.depth.reciprocal()
        dx, dy, dz = rays.direction
        a = across * dx.square() + along * dz.square()
        z = rays.z - slices.center
        b = (across * rays.x).mul_(dx).add_((along * z).mul_(dz)).div_(a)
        c = (rays.x.square().mul_(across)).add_(z.square_().mul_(along)).sub_((1 + relief / DEPTH).square_())
        room = b.square() - c / a
        depth = room.clamp_min(0).sqrt_().sub_(b)
        room = torch.minimum(room, slices.room)
        return Hit(rays.x + depth * dx, rays.y + depth * dy, rays.z + depth * dz, depth, room)

    def intersect(self, rays: Rays) -> tuple[Hit, Tensor]:
        """The surface seen along the rays, and the relief there: (N, H, W)."""
        hit = self.meet(rays, rays.y + DEPTH * 0.8 * rays.direction[1], torch.zeros_like(rays.y))
        for _ in range(STEPS):
            relief = self.relief(hit.x, hit.y)
            hit = self.meet(rays, hit.y, relief)
        return hit, self.relief(hit.x, hit.y)

    def front(self, x: Tensor, y: Tensor) -> Tensor:
        """z of the surface in front of the points (x, y) of the face plane."""
        slices = self.profile(y)
        raised = (1 + self.relief(x, y) / DEPTH).square_()
        return ((raised - x.square() / slices.width).clamp_min_(0) * slices.depth).sqrt_().add_(slices.center)

    def landmarks(self, pose: Pose) -> Tensor:
        """Left eye, right eye, nose tip, left and right mouth corner, as seen in the image: (N, 5, 2), in [0, 1]."""
        eye, mouth = self.id["eye_x"], self.mouth_width
        zero = torch.zeros_like(eye)
        x = torch.cat([-eye, eye, zero, -mouth, mouth], 2)
        corner = self.mouth_y - self.corner_lift
        y = torch.cat([self.id["eye_y"]] * 2 + [self.id["nose_y"]] + [corner] * 2, 2)
        return pose.project(x, y, self.front(x, y))
