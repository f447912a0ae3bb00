"""The colour of skin: tone, undertone, blush, beard shadow, folds, freckles and moles."""

import torch
from torch import Tensor

from idn.data.procedural.drawing import HAIR, SKIN, bump, edge, oval, over, palette, smooth
from idn.data.procedural.parameters import Traits
from idn.data.procedural.surface import Face, Hit
from idn.data.procedural.textures import Textures, sample


def tone(identity: Traits) -> Tensor:
    """The plain skin colour, (N, 3, 1, 1)."""
    color, warmth = palette(SKIN, identity["skin_tone"]), identity["skin_warmth"]
    return color * torch.stack([1 + 0.03 * warmth, 1 + 0.07 * warmth, 1 - 0.16 * warmth], 1)


def undercoat(face: Face, hit: Hit) -> Tensor:
    """Everything on the skin that is soft: (N, 3, H, W)."""
    across, y, plain = hit.x.abs(), hit.y, tone(face.id)
    skin = plain.expand(-1, -1, *y.shape[1:]).clone()
    red = plain * plain.new_tensor((1.02, 0.58, 0.55)).view(1, 3, 1, 1)
    blush = face.id["blush"] * bump(oval(across - 0.155, y - 0.095, 0.115, 0.095))
    blush += 0.35 * bump(oval(hit.x, y - face.id["nose_y"], 0.05, 0.05))
    over(skin, red, blush)
    shadow = palette(HAIR, 0.55 * face.id["brow_tone"])
    over(skin, 0.5 * plain + 0.5 * shadow, _beard(face, hit.x, across, y))
    over(skin, 0.30 * plain, _folds(face, hit.x, across, y))
    return skin


def _beard(face: Face, x: Tensor, across: Tensor, y: Tensor) -> Tensor:
    jaw = smooth((y - 0.265 + 0.55 * across) / 0.07) * smooth((across + y - 0.215) / 0.08)
    lip = bump(oval(x, y - face.mouth_y + 0.042, 0.13, 0.034))
    clear = 1 - bump(oval(x, y - face.mouth_y - 0.5 * face.gap, face.mouth_width, 0.045 + face.gap))
    return 0.85 * face.id["beard"].clamp_min(0) * torch.maximum(jaw * clear, lip)


def _folds(face: Face, x: Tensor, across: Tensor, y: Tensor) -> Tensor:
    age = face.id["wrinkles"].clamp_min(0)
    lines = torch.sin((y + 1.2 * x.square()) * 190).clamp_min_(0).square_()
    folds = (0.30 * age + 6 * face.brow_raise.clamp_min(0)) * lines * bump(oval(x, y + 0.19, 0.17, 0.075))
    top, low = face.id["nose_y"] - 0.005, face.mouth_y + 0.012
    along = (y - top) / (low - top)
    side = face.id["nose_width"] + 0.022 + (face.mouth_width - face.id["nose_width"] + 0.004) * along * along
    strength = 0.08 + 0.42 * age + 0.22 * face.smile.clamp_min(0)
    folds += strength * bump(((across - side) / 0.016).square_()) * bump(((along - 0.5) / 0.72).square_())
    folds += 0.34 * age * bump(oval(across - face.id["eye_x"], y - face.id["eye_y"] - 0.046, 0.055, 0.014))
    return folds.clamp_(0, 0.8)


def spots(albedo: Tensor, face: Face, hit: Hit, textures: Textures, pixel: Tensor) -> None:
    """Paint freckles, moles and the grain of the skin on `albedo`, (N, 3, H, W), in place."""
    place = face.id["freckle_place"]
    grain = sample(textures.skin, hit.x * 1.7 + place, hit.y * 1.7 + 1.3 * place)
    albedo *= (1 + 0.12 * grain[:, 1:]).clamp_(0.8, 1.2)
    plain = tone(face.id)
    where = bump(oval(hit.x.abs() - 0.10, hit.y - 0.075, 0.19, 0.14)).mul_(1.6).clamp_(max=1)
    density = face.id["freckles"].clamp_min(0)
    freckles = (grain[:, 0] - 1 + density).mul_(3).clamp_(0, 0.75).mul_(where)
    over(albedo, plain * plain.new_tensor((0.42, 0.27, 0.20)).view(1, 3, 1, 1), freckles)
    dark = plain * plain.new_tensor((0.16, 0.11, 0.10)).view(1, 3, 1, 1)
    x, y, radius = face.id["mole_x"], face.id["mole_y"], face.id["mole_size"]
    for cx, cy, r in ((x, y, radius), (-0.8 * x - 0.03, y - 0.27, 0.75 * radius)):
        r = r.clamp_min(1e-3)
        far = (hit.x - cx).square_().add_((hit.y - cy).square_())
        shown = (radius > 0).to(far.dtype) * (2 * r / pixel).clamp(max=1)
        over(albedo, dark, edge((r.square() - far) / (2 * r), 1.5 * pixel).mul_(0.9 * shown))
