"""Eyes and brows, both sides at once: `across` is the distance from the middle of the face."""

import torch
from torch import Tensor

from idn.data.procedural.drawing import HAIR, IRIS, bump, edge, over, palette
from idn.data.procedural.features.skin import tone
from idn.data.procedural.parameters import Traits
from idn.data.procedural.surface import Face, Hit

IRIS_RADIUS = 0.026


def paint_eyes(albedo: Tensor, sheen: Tensor, face: Face, attributes: Traits, hit: Hit, pixel: Tensor) -> None:
    """Paint lids, lashes and eyes in place on `albedo`, (N, 3, H, W), and `sheen`, (N, H, W)."""
    width, tilt = face.id["eye_width"], torch.deg2rad(face.id["eye_tilt"])
    x, y = hit.x.abs() - face.id["eye_x"], hit.y - face.id["eye_y"]
    x, y = x * tilt.cos() - y * tilt.sin(), x * tilt.sin() + y * tilt.cos()
    x_in = x / width
    arc = 1 - x_in.square()
    high = width * face.id["eye_round"] * (1 - attributes["eye_close"])
    low = 0.55 * width * face.id["eye_round"] * (1 - 0.35 * face.smile.clamp_min(0))
    from_top = y + high * arc * (1 - 0.18 * x_in)
    opening = torch.minimum(from_top, low * arc - y)
    dark = tone(face.id) * 0.12
    _crease(albedo, face, from_top, arc, dark, pixel)
    inside = edge(opening, 1.3 * pixel)
    shift = attributes["gaze_x"] * width * hit.x.sign()
    ix, iy = x - shift, y + 0.16 * high - attributes["gaze_y"] * high
    over(albedo, _eyeball(face, ix.square() + iy.square(), from_top, pixel), inside)
    sheen *= 1 - 0.7 * inside
    glint = edge(0.0062 - ((hit.x - face.id["eye_x"] * hit.x.sign() + 0.007).abs() + (iy + 0.009).abs()), 1.5 * pixel)
    sheen.add_(glint.mul_(inside).mul_(0.85))
    reach = (arc + 0.16).clamp_(0, 1)
    lash = edge((0.0052 * reach + 0.0008) - (from_top + 0.0015).abs(), pixel).mul_((reach * 8).clamp_(max=1))
    over(albedo, dark * 0.25, lash.mul_(0.92))


def _crease(albedo: Tensor, face: Face, from_top: Tensor, arc: Tensor, dark: Tensor, pixel: Tensor) -> None:
    fold, end = face.id["lid_fold"], (arc * 1.6 + 0.25).clamp_(0, 1)
    line = bump(((from_top + fold + 0.004) / (0.0075 + 0.6 * pixel)).square_())
    over(albedo, dark, line.mul_(end).mul_((fold * 40).clamp(max=0.6)))
    lid = bump(((from_top + 0.5 * fold) / (0.022 + 0.5 * fold)).square_())
    over(albedo, dark, lid.mul_(end).mul_(0.22))


def _eyeball(face: Face, far: Tensor, from_top: Tensor, pixel: Tensor) -> Tensor:
    """White, iris and pupil at squared distances `far` from the iris centre, shaded by the upper lid."""
    r = IRIS_RADIUS
    lidded = (0.42 + from_top * 34).clamp_(0.42, 1).unsqueeze(1)
    white = far.new_tensor((0.80, 0.77, 0.74)).view(1, 3, 1, 1) * lidded
    q = far / r**2
    rays = (1.55 - 1.15 * q * q).clamp_(0.18, 1.6).unsqueeze(1)
    color = palette(IRIS, face.id["iris_tone"]) * face.id["iris_light"].unsqueeze(1) * 1.3
    white.lerp_(color * rays * (0.35 + 0.65 * lidded), edge((r * r - far) / (2 * r), 1.4 * pixel).unsqueeze(1))
    pupil = 0.43 * r
    over(white, far.new_tensor(0.006), edge((pupil**2 - far) / (2 * pupil), 1.4 * pixel))
    return white


def paint_brows(albedo: Tensor, face: Face, hit: Hit, pixel: Tensor) -> None:
    """Paint the brows in place on `albedo`, (N, 3, H, W)."""
    x = hit.x.abs() - face.id["eye_x"] - 0.004
    s = x / face.id["brow_length"]
    arch = face.id["brow_arch"] * (1 - (s - 0.25).square_() * 0.8)
    y = hit.y - (face.brow_y - face.id["brow_slope"] * x - arch + 0.5 * face.id["brow_arch"])
    body = (1 - 0.50 * (s + 0.35).clamp_(0, 1.4).square_()) * (1 - s.square().square_()).clamp_min_(0)
    thick = face.id["brow_thick"] * body
    fade = (pixel * 128).reciprocal().clamp(max=1)
    hairs = torch.sin((x * 0.8 - y * 1.5) * 420) * (0.12 * fade)
    cover = edge(thick - y.abs() - 0.001, 0.0065 + pixel)
    cover.mul_((0.86 + hairs).clamp_(0, 1)).mul_((body * 5).clamp_(0, 1))
    lightness = tone(face.id)[:, :1].sqrt()
    over(albedo, palette(HAIR, face.id["brow_tone"]) * lightness, cover)
