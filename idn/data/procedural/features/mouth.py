"""Lips, what is between them, and the nostrils."""

import torch
from torch import Tensor

from idn.data.procedural.drawing import LIPS, bump, edge, oval, over, palette
from idn.data.procedural.features.skin import tone
from idn.data.procedural.surface import Face, Hit


def paint_nostrils(albedo: Tensor, face: Face, hit: Hit) -> None:
    """Paint nostrils and the creases of the wings in place on `albedo`, (N, 3, H, W)."""
    across, wing = hit.x.abs(), face.id["nose_width"]
    y = hit.y - face.id["nose_y"] - 0.019
    hole = bump(oval(across - 0.44 * wing, y - 0.10 * across, 0.34 * wing, 0.0125))
    crease = bump(oval(across - 1.10 * wing, y + 0.014, 0.010, 0.026)).mul_(0.38)
    over(albedo, tone(face.id) * 0.07, torch.maximum(hole.mul_(1.25).clamp_(max=0.9), crease))


def paint_mouth(albedo: Tensor, sheen: Tensor, face: Face, hit: Hit, pixel: Tensor) -> None:
    """Paint lips, teeth and the line between the lips in place on `albedo`, (N, 3, H, W), and `sheen`, (N, H, W)."""
    s = hit.x / face.mouth_width
    s2 = s.square()
    arc = (1 - s2).clamp_min_(0)
    within = edge((1 - s2) * (0.5 * face.mouth_width), 2 * pixel)
    y = hit.y - face.mouth_y + face.corner_lift * s2
    dip = 1 - face.id["cupid_bow"] * bump((s / 0.30).square_())
    full = arc * (1.22 - 0.22 * arc)
    above = y + face.id["upper_lip"] * arc * dip
    below = (face.id["lower_lip"] * full + face.gap * arc) - y
    soft = 1.2 * pixel + 0.004
    lips = edge(torch.minimum(above, below), soft).mul_(within)
    plain = tone(face.id)
    color = palette(LIPS, face.id["lip_tone"]) * (0.30 + 0.70 * plain[:, :1].clamp(0.1, 0.9))
    over(albedo, color * 0.92 + plain * 0.08, lips * 0.93)
    sheen.add_(lips * bump(oval(s, y - face.gap - 0.42 * face.id["lower_lip"], 0.5, 0.012)), alpha=0.10)
    between = edge(torch.minimum(y + 0.12 * face.gap * arc, 0.90 * face.gap * arc - y) + 0.0016, pixel).mul_(within)
    over(albedo, color * 0.10, between * 0.9)
    teeth = edge(0.52 * face.gap * arc - y, 2 * pixel).mul_(between).mul_((face.gap * 60).clamp(max=1))
    over(albedo, albedo.new_tensor((0.72, 0.69, 0.63)).view(1, 3, 1, 1), teeth.mul_(0.92))
