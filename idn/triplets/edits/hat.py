"""Hats: a knitted cap or a cap with a peak."""

import math

import torch
from torch import Tensor

from idn.triplets.drawing import Canvas, blurred, cover, noise, smoothstep
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, chance, colour, finished
from idn.triplets.face import Face

_CLOTH = ((24, 26, 34), (110, 28, 34), (52, 60, 72), (36, 66, 54), (148, 132, 108), (196, 192, 184), (34, 48, 92))


class Hat(Edit):
    """Covers the top of the head down to the forehead and throws a shadow on it."""

    makes, covers, largest_yaw = ATTRIBUTE, True, 25.0

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """The dome, then the fold of the knitted cap or the peak of the other one."""
        cloth, knitted = colour(_CLOTH, draw), chance(0.5, draw)
        edge, wide = between(-0.78, -0.6, draw), between(1.3, 1.42, draw)
        a, b = face.coordinates
        a = a - 0.006 * face.yaw
        rim = edge + 0.24 * (a / wide) ** 2  # seen from below, as what is above the eyes is
        dome = torch.minimum(1 - (a / wide).abs().pow(3.6) - ((rim - b) / 1.6).clamp_min(0).pow(2.4), rim - b)
        body = cover(dome * face.unit)
        canvas = Canvas(face.image)
        canvas.shadow(body, (0.0, 0.1 * face.unit), 0.09 * face.unit, 0.5)
        canvas.paint(self._lit(face, cloth, a, b, rim, wide, knitted, draw), blurred(body, 0.5))
        if not knitted:
            self._peak(face, canvas, cloth, a, b, edge, wide)
        return finished(face, canvas.image, canvas.region, {"cloth": cloth, "knitted": knitted, "edge": edge})

    def _lit(
        self,
        face: Face,
        cloth: Tensor,
        a: Tensor,
        b: Tensor,
        rim: Tensor,
        wide: float,
        knitted: bool,
        draw: torch.Generator,
    ) -> Tensor:
        """Cloth on a dome under light from above and from the side of the face's light, (3, S, S)."""
        across = (a / wide).clamp(-0.98, 0.98)
        depth = (1 - across.square()).sqrt()
        height = ((rim - b) / 1.3).clamp(0, 1)
        light = 0.42 + 0.5 * depth + 0.2 * face.light * across + 0.16 * height
        angle = torch.asin(across)
        if knitted:
            fold = smoothstep((b - (rim - 0.42)) / 0.05)
            ribs = torch.cos(angle * 46).mul(0.5).add(0.5).pow(0.7)
            purl = torch.cos((rim - b) * 55 + 3.1 * torch.cos(angle * 46)).mul(0.5).add(0.5)
            light = light * (0.86 + 0.14 * ribs + 0.05 * purl) * (1 + 0.1 * fold)
            seam = torch.exp(-(((b - (rim - 0.44)) / 0.03) ** 2))
            light = light * (1 - 0.4 * seam)
        else:
            seams = torch.exp(-((torch.sin(angle * 1.5) / 0.022) ** 2)) * 0.35
            button = torch.exp(-((across / 0.06) ** 2 + ((rim - b - 1.25) / 0.06) ** 2))
            light = light * (1 - seams) * (1 + 0.25 * button)
        light = light * (1 + 0.03 * noise(face.size, 1.2, draw) + 0.05 * noise(face.size, 0.3 * face.unit, draw))
        return face.tinted(cloth.view(3, 1, 1) * light) * 1.05

    def _peak(self, face: Face, canvas: Canvas, cloth: Tensor, a: Tensor, b: Tensor, edge: float, wide: float) -> None:
        """The peak: a bent shield below the dome, lit on its upper side."""
        x = a / (0.8 * wide)
        top = edge - 0.05 + 0.12 * x.square()
        low = edge + 0.3 * (1 - x.square()).clamp_min(0).sqrt() + 0.02
        shield = torch.minimum(torch.minimum(b - top, low - b), 0.5 * (1 - x.abs()))
        shape = cover(shield * face.unit)
        canvas.shadow(shape, (0.0, 0.16 * face.unit), 0.1 * face.unit, 0.5)
        down = ((b - top) / (low - top).clamp_min(0.02)).clamp(0, 1)
        light = 1.12 - 0.4 * down + 0.15 * face.light * x - 0.2 * x.square() + 0.35 * smoothstep((down - 0.9) / 0.06)
        stitch = 1 - 0.12 * torch.cos(down * math.pi * 10).clamp_min(0)
        canvas.paint(face.tinted(cloth.view(3, 1, 1) * light * stitch), blurred(shape, 0.5))
