"""Hair over the forehead: a fringe of strands in the colour of the hair above it."""

import torch
from torch import Tensor

from idn.images import luma
from idn.triplets.drawing import Canvas, blurred, curve, noise, smoothstep, strokes
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, Unsuitable, between, finished
from idn.triplets.face import Face

_ABOVE = ((-0.35, -1.42), (0.0, -1.5), (0.35, -1.42))
"""Where hair usually is."""


def hair_colour(face: Face) -> Tensor | None:
    """The colour above the forehead, (3,), if that can be hair: darker than the skin, and unlike what is beside it."""
    seen = face.colour_at(*_ABOVE, reach=0.16)
    background = face.colour_at((-1.75, -1.5), (1.75, -1.5), reach=0.15)
    dark = float(luma(seen.view(1, 3, 1, 1))) / float(luma(face.skin.view(1, 3, 1, 1)))
    alone = float((seen - background).abs().max()) > 0.05
    return seen if dark < 0.45 or (dark < 1 and alone) else None


class ForeheadHair(Edit):
    """A fringe of locks that hang over the forehead, each of hairs that run together at its tip."""

    makes, covers, largest_yaw = ATTRIBUTE, True, 25.0

    def __init__(self, locks: int = 34, hairs: int = 18) -> None:
        """locks: of a fringe. hairs: strokes of a lock."""
        self.locks, self.hairs = locks, hairs

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Shadow, then hair, which begins to cover where the person's own begins."""
        tone = hair_colour(face)
        if tone is None:
            raise Unsuitable("no hair is seen above the forehead")
        length, sweep = between(0.5, 1.0, draw), between(-0.5, 0.5, draw)
        uneven, gap = between(0.05, 0.22, draw), between(-0.6, 0.6, draw)
        lines, widths, tones = [], [], []
        for number in torch.randperm(self.locks, generator=draw).tolist():
            a = 1.9 * ((number + 0.5) / self.locks - 0.5) + 0.05 * float(torch.randn((), generator=draw))
            parted = min(1.0, abs(a - gap) / 0.5)
            reach = (
                length
                * (0.6 + 0.4 * parted)
                * (1 - 0.25 * a * a)
                * (1 + uneven * float(torch.randn((), generator=draw)))
            )
            lean = sweep * reach + 0.2 * (1 if a > gap else -1) * (1 - parted)
            self._lock(face, (a, a + lean), reach, draw, (lines, widths, tones))
        value, alpha = strokes(face.size, lines, widths, tones)
        a, b = face.coordinates
        root = -1.28 + 0.3 * a.square()
        alpha = blurred(alpha, 0.5) * smoothstep((b - root + 0.2) / 0.25) * smoothstep((1.08 - a.abs()) / 0.2)
        canvas = Canvas(face.image)
        canvas.shadow(alpha, (0.02 * face.unit, 0.06 * face.unit), 0.06 * face.unit, 0.45)
        lit = tone.view(3, 1, 1) * (0.35 + 1.3 * value + 0.05 * noise(face.size, 1.5, draw))
        gleam = torch.exp(-(((b - root - 0.3) / 0.16) ** 2)) * (value - 0.45).clamp_min(0)
        canvas.paint((lit + 0.35 * gleam * face.brightness) * face.shading.clamp(0.75, 1.15), 0.97 * alpha)
        parameters = {"length": length, "sweep": sweep, "gap": gap, "colour": tone}
        return finished(face, canvas.image, canvas.region, parameters)

    def _lock(
        self,
        face: Face,
        across: tuple[float, float],
        reach: float,
        draw: torch.Generator,
        drawn: tuple[list[Tensor], list[float], list[float]],
    ) -> None:
        """Add the hairs of one lock. across: a of its root and of its tip. reach: its length."""
        u, v, w, t = torch.rand(self.hairs, 4, generator=draw).double().unbind(1)
        shade = 0.3 * float(torch.rand((), generator=draw))
        root_a = across[0] + 0.26 * (u - 0.5)
        tip_a = across[1] + 0.05 * (v - 0.5) + 0.25 * (root_a - across[0])
        root_b = -1.4 + 0.3 * root_a.square()
        tip_b = root_b + 0.1 + reach * (0.72 + 0.28 * w)
        bends = torch.stack([root_a + 0.15 * (tip_a - root_a), root_b + 0.62 * (tip_b - root_b)], 1)
        ends = (torch.stack([root_a, root_b], 1), bends, torch.stack([tip_a, tip_b], 1))
        paths = curve(*(face.at(end)[:, None] for end in ends), steps=9)
        for part, width in ((paths[:, :6], 0.025), (paths[:, 5:], 0.013)):
            drawn[0].extend(part)
            drawn[1].extend([max(0.35, width * face.unit)] * self.hairs)
            drawn[2].extend((0.2 + shade + 0.45 * t).tolist())
