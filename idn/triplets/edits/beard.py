"""Facial hair by landmarks: stubble, moustache, goatee and full beard, hair by hair over a darkened skin."""

import torch
from torch import Tensor

from idn.images import luma
from idn.triplets.drawing import Canvas, blurred, noise, polygon, strokes
from idn.triplets.edit import IDENTITY, Edit, Edited, between, colour, finished
from idn.triplets.edits.forehead_hair import hair_colour
from idn.triplets.face import Face

_STYLES = ("full", "full", "goatee", "moustache", "stubble")
_USUAL = ((26, 20, 18), (52, 36, 26), (92, 62, 40), (150, 112, 68), (120, 60, 32), (120, 116, 114))
_LIPS = (*range(48, 60),)


class Beard(Edit):
    """Hair grows around the mouth and along the jaw; where, says the style."""

    makes, dense, largest_yaw = IDENTITY, True, 30.0

    def __init__(self, hairs: int = 5000) -> None:
        """hairs: of a full beard."""
        self.hairs = hairs

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Shade the skin, then draw the hairs."""
        style = _STYLES[int(torch.randint(len(_STYLES), (), generator=draw))]
        thick = between(0.55, 1.0, draw) if style != "stubble" else between(0.15, 0.3, draw)
        length = (between(0.05, 0.11, draw) if style != "stubble" else 0.022) * face.unit
        tone = hair_colour(face)
        if tone is None:
            tone = face.tinted(colour(_USUAL, draw))
        most = 0.45 * float(luma(face.skin.view(1, 3, 1, 1)))
        tone = tone * min(1.0, most / max(0.02, float(luma(tone.view(1, 3, 1, 1)))))
        where = self._density(face, style, draw)
        canvas = Canvas(face.image)
        canvas.paint(
            0.55 * tone + 0.3 * face.skin * 0.6, 0.75 * thick * blurred(where, 0.035 * face.unit) * where.gt(0)
        )
        lines, widths, tones = self._drawn_hairs(face, where, thick, length, style, draw)
        if lines:
            value, alpha = strokes(face.size, lines, widths, tones)
            lit = tone.view(3, 1, 1) * (0.35 + 1.25 * value) + 0.03
            canvas.paint(lit * face.shading.clamp(0.6, 1.2), 0.9 * blurred(alpha, 0.4))
        return finished(face, canvas.image, canvas.region, {"style": style, "thick": thick, "colour": tone})

    def _density(self, face: Face, style: str, draw: torch.Generator) -> Tensor:
        """How dense hair grows, (S, S) in [0, 1]."""
        p, size = face.dense, face.size
        jaw = p[2:15]
        middle = p[8] + 0.06 * face.down
        left, right, nose = 0.5 * (p[31] + p[48]), 0.5 * (p[35] + p[54]), p[33] + 0.06 * face.down
        upper = [0.65 * p[14] + 0.35 * p[54], right, p[35] + 0.1 * face.down, nose, p[31] + 0.1 * face.down, left]
        outline = torch.cat([jaw[:6], middle[None], jaw[7:], torch.stack([*upper, 0.65 * p[2] + 0.35 * p[48]])])
        if style == "moustache":
            low = p[[54, 53, 52, 51, 50, 49, 48]]
            outline = torch.cat([torch.stack([p[48], left, nose, right, p[54]]), low])
        elif style == "goatee":
            chin = torch.stack([p[10], p[9], middle, p[7], p[6]])
            sides = torch.stack([p[48] - 0.12 * face.across, left, nose, right, p[54] + 0.12 * face.across])
            outline = torch.cat([sides, chin])
        shape = polygon(size, outline)
        lips = polygon(size, p[list(_LIPS)])
        soft = blurred(shape, (0.1 if style in ("full", "stubble") else 0.05) * face.unit)
        inside = ((soft - 0.35) / 0.5).clamp(0, 1) * (1 - blurred(lips, 0.03 * face.unit)).clamp(0, 1)
        return inside * (0.85 + 0.2 * noise(size, 0.08 * face.unit, draw)).clamp(0.3, 1)

    def _drawn_hairs(
        self, face: Face, where: Tensor, thick: float, length: float, style: str, draw: torch.Generator
    ) -> tuple[list[Tensor], list[float], list[float]]:
        """Short strokes away from the mouth and downwards."""
        weight = where.flatten() * 1.0
        if float(weight.sum()) < 1:
            return [], [], []
        share = float(weight.sum()) / (face.unit**2 * 1.6)
        count = max(50, int(self.hairs * min(1.0, share) * (0.4 + 0.6 * thick)))
        places = torch.multinomial(weight, count, replacement=True, generator=draw)
        x, y = (places % face.size).double() + 0.5, (places // face.size).double() + 0.5
        random = torch.rand(count, 3, generator=draw).double()
        mouth = face.place((0.0, 0.95))[0]
        away = torch.stack([x - mouth[0], y - mouth[1]], 1)
        way = away / away.norm(dim=1, keepdim=True).clamp_min(1) * 0.6 + face.down / face.down.norm() * 0.8
        turn = (random[:, 0] - 0.5) * 1.1
        way = way / way.norm(dim=1, keepdim=True)
        c, s = turn.cos(), turn.sin()
        way = torch.stack([way[:, 0] * c - way[:, 1] * s, way[:, 0] * s + way[:, 1] * c], 1)
        start = torch.stack([x, y], 1)
        end = start + way * (length * (0.6 + 0.8 * random[:, 1:2]))
        lines = list(torch.stack([start, (start + end) / 2 + 0.06 * length * way.flip(1), end], 1))
        width = max(0.34, 0.0075 * face.unit) * (0.8 if style == "stubble" else 1.0)
        return lines, [width] * count, (0.2 + 0.6 * random[:, 2]).tolist()
