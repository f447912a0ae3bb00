"""Glasses and sunglasses: lenses, frame, bridge and arms, with the shadow that they throw."""

from typing import NamedTuple

import torch
from torch import Tensor

from idn.triplets.drawing import Canvas, blurred, cover, noise, smoothstep
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, chance, colour, finished
from idn.triplets.face import Face

_FRAMES = ((22, 20, 22), (38, 28, 24), (92, 58, 34), (54, 34, 30), (172, 142, 86), (168, 170, 174), (30, 36, 60))
_TINTS = ((14, 14, 16), (34, 24, 18), (20, 28, 24), (24, 26, 40), (58, 34, 20))


class Shape(NamedTuple):
    """How a pair of glasses is built, in distances between the eyes."""

    width: float
    height: float
    power: float
    """Of the superellipse: 2 is round."""
    taper: float
    """How much narrower lenses are at the lower end."""
    rim: float
    """Half thickness of the frame."""
    drop: float
    """How far the lenses' centre lies below the eyes."""
    lean: float
    """How much the outer ends rise."""


def drawn_shape(draw: torch.Generator, dark: bool) -> Shape:
    """A shape of random proportions; sunglasses are larger."""
    larger = 1.1 if dark else 1.0
    return Shape(
        width=between(0.34, 0.41, draw) * larger,
        height=between(0.25, 0.33, draw) * larger,
        power=between(2.0, 4.0, draw),
        taper=between(-0.04, 0.22, draw),
        rim=between(0.012, 0.036, draw),
        drop=between(0.02, 0.1, draw),
        lean=between(0.0, 0.06, draw),
    )


class Lens(NamedTuple):
    """One lens over a picture; fields are (S, S)."""

    x: Tensor
    """-1 to 1 from the nose to the temple, as is y from the upper to the lower end."""
    y: Tensor
    inside: Tensor
    """Distance to its edge in pixels, above 0 inside."""
    outer: float
    """a of its outer end."""


def lens(face: Face, shape: Shape, side: int) -> Lens:
    """side: -1 left of the picture, 1 right. The lens that is nearer to the camera is wider."""
    a, b = face.coordinates
    near = 1 + 0.004 * face.yaw * -side
    width = shape.width * min(1.15, max(0.75, near))
    x = (a * side - 0.5 - 0.02) / width
    y = (b - shape.drop + shape.lean * x) / shape.height
    narrow = 1 - shape.taper * (y + 1).clamp(-0.5, 2.5) / 2
    p = shape.power
    far = ((x / narrow).abs().pow(p) + y.abs().pow(p)).clamp_min(1e-6).pow(1 / p)
    return Lens(x, y, (1 - far) * min(width, shape.height) * face.unit, 0.52 + width)


def frame_cover(face: Face, shape: Shape, lenses: tuple[Lens, Lens]) -> Tensor:
    """Coverage of rims, bridge and arms, (S, S)."""
    a, b = face.coordinates
    rim = shape.rim * face.unit
    whole = torch.zeros_like(a)
    for one in lenses:
        whole = torch.maximum(whole, cover(rim - (one.inside + rim * 0.4).abs()))
    bow = shape.drop - 0.3 * shape.height + 0.5 * a.square()
    inner = min(one.outer for one in lenses) - 2 * shape.width + 0.06
    bridge = torch.minimum(1.15 * shape.rim - (b - bow).abs(), inner - a.abs()) * face.unit
    whole = torch.maximum(whole, cover(bridge))
    for side, one in zip((-1, 1), lenses, strict=True):
        reach = 1.1 + 0.012 * face.yaw * -side
        if reach < one.outer + 0.03:
            continue
        along = a * side
        height = shape.drop - shape.lean - 0.45 * shape.height + 0.06 * (along - one.outer)
        arm = torch.minimum(shape.rim - (b - height).abs(), torch.minimum(along - one.outer + 0.03, reach - along))
        fade = smoothstep((reach - along) / 0.08)
        whole = torch.maximum(whole, cover(arm * face.unit) * fade)
    return whole


class Eyewear(Edit):
    """What glasses and sunglasses have in common; a subclass fills the lenses."""

    makes, covers, largest_yaw = ATTRIBUTE, True, 28.0
    dark = False

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Shadow first, then the lenses, then the frame."""
        shape = drawn_shape(draw, self.dark)
        lenses = lens(face, shape, -1), lens(face, shape, 1)
        base = colour(_FRAMES, draw)
        tortoise = chance(0.25, draw)
        frame = frame_cover(face, shape, lenses)
        glass = torch.maximum(*(cover(one.inside) for one in lenses))
        canvas = Canvas(face.image)
        canvas.shadow(torch.maximum(frame, 0.25 * glass), (0.03 * face.unit, 0.07 * face.unit), 0.04 * face.unit, 0.35)
        parameters = self.fill(face, canvas, shape, lenses, draw)
        canvas.paint(self._frame_colour(face, base, frame, tortoise, draw), blurred(frame, 0.45))
        parameters |= {"shape": list(shape), "frame": base, "tortoise": tortoise}
        return finished(face, canvas.image, canvas.region, parameters)

    def fill(
        self, face: Face, canvas: Canvas, shape: Shape, lenses: tuple[Lens, Lens], draw: torch.Generator
    ) -> dict[str, object]:
        """Paint the lenses; returns what was drawn."""
        raise NotImplementedError

    def _frame_colour(self, face: Face, base: Tensor, frame: Tensor, tortoise: bool, draw: torch.Generator) -> Tensor:
        """Lit from above: lighter on the upper edge of every part, (3, S, S)."""
        soft = blurred(frame, max(0.6, 0.02 * face.unit))
        above = torch.roll(soft, 1, 0) - torch.roll(soft, -1, 0)
        spots = 0.35 * noise(face.size, 0.1 * face.unit, draw) if tortoise else torch.zeros_like(soft)
        shine = (-1.6 * above).clamp(-0.35, 0.8)
        lit = base.view(3, 1, 1) * (1 + spots).clamp(0.4, 2.2) * (0.85 + shine) + 0.22 * shine.clamp_min(0)
        return face.tinted(lit) * face.shading.clamp(0.7, 1.2)


class Glasses(Eyewear):
    """Clear lenses: a trace of tint and a streak of reflected light."""

    def fill(
        self, face: Face, canvas: Canvas, shape: Shape, lenses: tuple[Lens, Lens], draw: torch.Generator
    ) -> dict[str, object]:
        """See Eyewear."""
        strength, place, tilt = between(0.03, 0.2, draw), between(-0.5, 0.5, draw), between(0.4, 1.2, draw)
        for one, side in zip(lenses, (-1, 1), strict=True):
            glass = cover(one.inside)
            streak = torch.exp(-(((one.x * side + tilt * one.y - place) / 0.3) ** 2))
            pane = torch.tensor((0.9, 0.95, 1.0)).view(3, 1, 1) * max(0.5, face.brightness)
            canvas.paint(face.tinted(pane.expand(3, *glass.shape)), glass * (0.03 + strength * streak))
        return {"glare": strength}


class SunGlasses(Eyewear):
    """Dark lenses, lighter towards the lower end, with a soft reflection."""

    dark = True

    def fill(
        self, face: Face, canvas: Canvas, shape: Shape, lenses: tuple[Lens, Lens], draw: torch.Generator
    ) -> dict[str, object]:
        """See Eyewear."""
        tint, top = colour(_TINTS, draw), between(0.86, 0.97, draw)
        low, glare = top - between(0.0, 0.3, draw), between(0.1, 0.45, draw)
        turn = between(-0.5, 0.5, draw)
        for one, side in zip(lenses, (-1, 1), strict=True):
            glass = cover(one.inside)
            depth = (one.y + 1).clamp(0, 2) / 2
            sky = smoothstep((0.15 - one.y + 0.35 * turn * one.x * side) / 0.9)
            window = torch.exp(-(((one.x * side - turn) / 0.35) ** 2) - ((one.y + 0.35) / 0.28) ** 2)
            light = glare * (0.35 * sky + 0.65 * window)
            body = tint.view(3, 1, 1) + light * torch.tensor((0.8, 0.88, 1.0)).view(3, 1, 1)
            rim = smoothstep(one.inside / (0.05 * face.unit))
            canvas.paint(face.tinted(body * (0.75 + 0.25 * rim)), glass * (top + (low - top) * depth))
        return {"tint": tint, "density": [top, low], "glare": glare}
