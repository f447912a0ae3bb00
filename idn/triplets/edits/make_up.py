"""Make-up by landmarks: lips, lids, liner and cheeks."""

import torch
from torch import Tensor

from idn.images import luma
from idn.triplets.drawing import Canvas, blurred, bump, polygon, strokes
from idn.triplets.edit import IDENTITY, Edit, Edited, between, chance, colour, finished
from idn.triplets.face import Face

_LIPSTICK = ((158, 22, 40), (190, 40, 62), (120, 20, 48), (196, 84, 92), (138, 44, 36), (98, 22, 58))
_SHADOW = ((92, 58, 48), (70, 60, 96), (44, 66, 92), (124, 80, 72), (60, 44, 52), (128, 92, 52))
_BLUSH = ((206, 92, 96), (214, 112, 92), (190, 84, 110))
_EYES = ((36, 39, (36, 37, 38, 39), (17, 18, 19, 20, 21)), (45, 42, (42, 43, 44, 45), (22, 23, 24, 25, 26)))
"""By eye: outer corner, inner corner, upper lid and brow."""


class MakeUp(Edit):
    """Lipstick, and by chance eye shadow, eyeliner and blush; the skin's own light and grain stay."""

    makes, dense, largest_yaw = IDENTITY, True, 32.0

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """One after the other."""
        canvas = Canvas(face.image)
        lips, shadow, blush = colour(_LIPSTICK, draw), colour(_SHADOW, draw), colour(_BLUSH, draw)
        amounts = [between(0.45, 0.8, draw), between(0.25, 0.55, draw), between(0.1, 0.28, draw)]
        liner = chance(0.7, draw)
        self._tint(face, canvas, lips, amounts[0] * self._lips(face))
        self._tint(face, canvas, shadow, amounts[1] * self._lids(face))
        if liner:
            canvas.paint(face.tinted(torch.tensor((0.07, 0.05, 0.06))), 0.85 * self._liner(face))
        self._tint(face, canvas, blush, amounts[2] * self._cheeks(face))
        parameters = {"lips": lips, "shadow": shadow, "blush": blush, "amounts": amounts, "liner": liner}
        return finished(face, canvas.image, canvas.region, parameters)

    def _tint(self, face: Face, canvas: Canvas, tone: Tensor, alpha: Tensor) -> None:
        """Give a part another colour, as light and dark as it is, compared with its mean."""
        grey = luma(canvas.image[None])[0]
        mean = (grey * alpha).sum() / alpha.sum().clamp_min(1e-3)
        relief = (grey / mean.clamp_min(0.05)).clamp(0.3, 2.2)
        mixed = (0.75 * tone + 0.25 * face.skin).view(3, 1, 1)
        lit = face.tinted(mixed * relief) + 0.35 * (relief - 1.25).clamp_min(0) * mean
        canvas.paint(lit, alpha)

    def _lips(self, face: Face) -> Tensor:
        """Both lips, without what is between them."""
        outer, inner = polygon(face.size, face.dense[48:60]), polygon(face.size, face.dense[60:68])
        edge = max(0.6, 0.02 * face.unit)
        return (blurred(outer, edge) * 1.15 - 0.1).clamp(0, 1) * (1 - blurred(inner, 0.5 * edge))

    def _lids(self, face: Face) -> Tensor:
        """Between the upper lids and the brows, densest at the lid and outwards."""
        whole = torch.zeros(face.size, face.size)
        for outer, _, lid, brow in _EYES:
            p = face.dense
            edge = p[list(lid)]
            top = 0.45 * edge.flip(0) + 0.55 * p[list(brow)].mean(0) + 0.45 * (edge.flip(0) - edge.mean(0))
            shape = blurred(polygon(face.size, torch.cat([edge, top])), 0.04 * face.unit)
            wing = polygon(face.size, torch.stack([p[lid[1]], p[outer], p[outer] + 0.35 * (p[outer] - edge.mean(0))]))
            whole = torch.maximum(whole, torch.maximum(shape, 0.6 * blurred(wing, 0.04 * face.unit)))
        open_eye = sum(polygon(face.size, face.dense[start : start + 6]) for start in (36, 42))
        return whole * (1 - blurred(open_eye, 0.5)).clamp(0, 1)

    def _liner(self, face: Face) -> Tensor:
        """A line along the upper lid that runs out beyond the outer corner."""
        lines = []
        for outer, inner, lid, _ in _EYES:
            p = face.dense
            path = p[list(lid)] if lid[0] == outer else p[list(lid)].flip(0)
            tail = p[outer] + 0.28 * (p[outer] - p[inner]) - 0.07 * face.down
            lines.append(torch.cat([tail[None], path]))
        width = max(0.7, 0.025 * face.unit)
        return blurred(strokes(face.size, lines, [width] * 2, [0.0] * 2)[1], 0.5)

    def _cheeks(self, face: Face) -> Tensor:
        """Soft spots beside the nose, on the cheekbones."""
        a, b = face.coordinates
        return sum(bump(((a - side * 0.66) / 0.42) ** 2 + ((b - 0.5) / 0.3) ** 2) for side in (-1, 1))
