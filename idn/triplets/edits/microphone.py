"""A microphone in front of the mouth: a wire ball on a dark handle."""

import math

import torch

from idn.triplets.drawing import Canvas, blurred, capsule, cover
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, chance, finished
from idn.triplets.face import Face


class Microphone(Edit):
    """Held from below, at the mouth or the chin."""

    makes, covers, largest_yaw = ATTRIBUTE, True, 40.0

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """The handle behind the ball, and a shadow of both."""
        radius = between(0.3, 0.42, draw) * face.unit
        centre = face.place((between(-0.35, 0.35, draw), between(1.25, 1.6, draw)))[0]
        lean = math.radians(between(-40, 40, draw))
        way = torch.tensor([math.sin(lean), math.cos(lean)], dtype=torch.float64)
        end = centre + 5 * face.unit * way
        silver = chance(0.5, draw)
        ball, _ = capsule(face.grid, centre, centre + 0.01, (radius, radius))
        start = centre + 0.6 * radius * way
        stick, _ = capsule(face.grid, start, end, (0.56 * radius, 0.4 * radius))
        canvas = Canvas(face.image)
        both = torch.maximum(cover(ball), cover(stick))
        canvas.shadow(both, (-0.1 * face.light * face.unit, 0.1 * face.unit), 0.12 * face.unit, 0.45)
        across = (
            (face.grid[0] - float(start[0])) * float(way[1]) - (face.grid[1] - float(start[1])) * float(way[0])
        ) / (0.5 * radius)
        gleam = torch.exp(-(((across - 0.45 * face.light - 0.1) / 0.22) ** 2))
        black = torch.tensor((0.09, 0.09, 0.1)).view(3, 1, 1)
        round_light = 0.5 + 0.5 * (1 - across.clamp(-1, 1).square()).sqrt()
        canvas.paint(face.tinted(black * round_light + 0.3 * gleam), blurred(cover(stick), 0.5))
        canvas.paint(self._ball(face, centre, radius, way, silver), blurred(cover(ball), 0.5))
        parameters = {"radius": radius / face.size, "centre": centre / face.size, "lean": lean, "silver": silver}
        return finished(face, canvas.image, canvas.region, parameters)

    def _ball(self, face: Face, centre: torch.Tensor, radius: float, way: torch.Tensor, silver: bool) -> torch.Tensor:
        """Woven wire around a dark inside, with a ring where the handle begins; (3, S, S)."""
        x, y = ((field - float(at)) / radius for field, at in zip(face.grid, centre, strict=True))
        z = (1 - x.square() - y.square()).clamp_min(0).sqrt()
        along = x * float(way[0]) + y * float(way[1])
        across = x * float(way[1]) - y * float(way[0])
        rows = torch.asin(along.clamp(-0.99, 0.99)) * 13
        columns = torch.atan2(across, z.clamp_min(0.05)) * 13
        wires = torch.maximum(torch.cos(rows + columns).abs(), torch.cos(rows - columns).abs()).pow(3)
        light = (0.25 + 0.5 * z - 0.35 * y + 0.3 * face.light * x).clamp(0.05, 1.2)
        base = 0.62 if silver else 0.24
        wire = base * light * (0.35 + 0.75 * wires)
        sheen = torch.exp(-(((x - 0.35 * face.light + 0.15) / 0.28) ** 2 + ((y + 0.4) / 0.25) ** 2))
        ring = torch.exp(-(((along - 0.45) / 0.09) ** 2))
        metal = (wire + 0.3 * sheen * wires) * (1 - 0.6 * ring) + ring * (0.5 * light + 0.1)
        return face.tinted(metal * torch.tensor((1.0, 1.0, 1.03)).view(3, 1, 1))
