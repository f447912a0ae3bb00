"""A surgical or cloth mask over nose, mouth and chin."""

import torch
from torch import Tensor

from idn.triplets.drawing import Canvas, blurred, cover, noise, polygon, smoothstep, strokes
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, chance, colour, finished
from idn.triplets.face import Face

_CLOTH = ((150, 190, 214), (224, 228, 230), (34, 36, 40), (188, 206, 196), (214, 178, 184))


class FaceMask(Edit):
    """Fitted to the jaw, with pleats, a wire at the nose and loops to the ears."""

    makes, covers, dense, largest_yaw = ATTRIBUTE, True, True, 35.0

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Loops, cloth and its folds."""
        cloth, pleated = colour(_CLOTH, draw, 0.04), chance(0.7, draw)
        high = between(0.35, 0.6, draw)
        p, size = face.dense, face.size
        nose = high * p[28] + (1 - high) * p[29]
        ends = [0.5 * (p[2] + p[3]), 0.5 * (p[13] + p[14])]
        cheeks = [0.42 * ends[0] + 0.58 * nose + 0.1 * face.down, 0.42 * ends[1] + 0.58 * nose + 0.1 * face.down]
        jaw = p[3:14] + 0.04 * face.down
        ridge = [nose + 0.02 * face.down + 0.09 * side * face.across for side in (1, -1)]
        outline = torch.cat([torch.stack([ends[1], cheeks[1], *ridge, cheeks[0], ends[0]]), jaw])
        shape = blurred(polygon(size, outline), 0.035 * face.unit)
        body = cover((shape - 0.5) * 2)
        canvas = Canvas(face.image)
        canvas.shadow(body, (0.0, 0.05 * face.unit), 0.06 * face.unit, 0.35)
        loops = self._loops(face, ends)
        canvas.paint(face.tinted(torch.tensor((0.86, 0.87, 0.88))), 0.85 * loops * (1 - body))
        canvas.paint(self._lit(face, cloth, pleated, nose, draw), blurred(body, 0.5))
        return finished(face, canvas.image, canvas.region, {"cloth": cloth, "pleated": pleated, "high": high})

    def _loops(self, face: Face, ends: list[Tensor]) -> Tensor:
        """Bands from the corners of the cloth to the ears."""
        p = face.dense
        lines = []
        for corner, low, ear, side in ((ends[0], p[4], p[0], -1), (ends[1], p[12], p[16], 1)):
            top = ear + 0.03 * side * face.across
            lines += [torch.stack([corner, top]), torch.stack([low, top + 0.25 * face.down])]
        return blurred(strokes(face.size, lines, [max(0.8, 0.02 * face.unit)] * 4, [0.0] * 4)[1], 0.5)

    def _lit(self, face: Face, cloth: Tensor, pleated: bool, nose: Tensor, draw: torch.Generator) -> Tensor:
        """Cloth that bulges over nose and chin, (3, S, S)."""
        a, b = face.coordinates
        lean = 0.012 * face.yaw
        across = ((a - lean) / 1.15).clamp(-0.98, 0.98)
        light = 0.5 + 0.42 * (1 - across.square()).sqrt() + 0.22 * face.light * across
        ridge = torch.exp(-(((a - 1.4 * lean) / 0.28) ** 2)) * smoothstep((1.25 - b) / 0.6)
        light = light + 0.1 * ridge - 0.1 * smoothstep((b - 1.4) / 0.5)
        if pleated:
            sag = b + 0.1 * across.square()
            for middle in (0.85, 1.12, 1.39):
                step = (sag - middle) / 0.05
                light = light - 0.16 * torch.exp(-(step**2)) + 0.07 * torch.exp(-((step + 1.6) ** 2))
        top = float(((nose - face.origin) @ face.down) / face.down.square().sum())
        wire = torch.exp(-(((b - top - 0.1 - 0.35 * (a - lean).abs()) / 0.04) ** 2)) * (a.abs() < 0.45)
        crumple = 0.03 * noise(face.size, 0.22 * face.unit, draw) + 0.012 * noise(face.size, 1.3, draw)
        light = (light + 0.1 * wire + crumple).clamp(0.15, 1.25)
        return face.tinted(cloth.view(3, 1, 1) * light) * face.shading.mul(0.6).add(0.4)
