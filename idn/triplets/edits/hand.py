"""A hand in front of the face: fingers with joints and nails, modelled as a relief and lit."""

import math

import torch
from torch import Tensor

from idn.triplets.drawing import Canvas, blurred, capsule, cover, noise, smoothstep
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, finished
from idn.triplets.face import Face

_FINGERS = ((-0.4, 0.96, 0.142), (-0.135, 1.12, 0.15), (0.14, 1.05, 0.145), (0.4, 0.8, 0.122))
"""Root across the palm, length and radius of index, middle, ring and little finger, in widths of a palm."""


class Hand(Edit):
    """The back of a hand that reaches into the picture from a side or from below, in the skin of the face."""

    makes, covers, largest_yaw = ATTRIBUTE, True, 45.0

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Place it, build its relief, light that."""
        scale = between(0.95, 1.15, draw) * face.unit
        side = 1 if float(torch.rand((), generator=draw)) < 0.5 else -1
        turn = math.radians(side * between(15, 70, draw))
        aim = face.place((between(-0.1, 0.5, draw) * side, between(0.75, 1.5, draw)))[0]
        spread, thumb = between(-0.02, 0.09, draw), 1 if float(torch.rand((), generator=draw)) < 0.5 else -1
        height, inside, nails, creases = self._relief(face, aim, turn, scale, spread, thumb, draw)
        shape = cover(inside)
        canvas = Canvas(face.image)
        canvas.shadow(shape, (-0.12 * face.light * face.unit, 0.12 * face.unit), 0.12 * face.unit, 0.5)
        canvas.paint(self._lit(face, height, inside, nails, creases, scale, draw), blurred(shape, 0.6))
        parameters = {"turn": turn, "aim": aim / face.size, "scale": scale / face.size, "spread": spread}
        return finished(face, canvas.image, canvas.region, parameters)

    def _relief(
        self,
        face: Face,
        aim: Tensor,
        turn: float,
        scale: float,
        spread: float,
        thumb: int,
        draw: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Height above the picture and distance to the edge, in pixels; where nails and creases are. All (S, S)."""
        up = torch.tensor([-math.sin(turn), -math.cos(turn)], dtype=torch.float64)
        right = torch.tensor([-float(up[1]), float(up[0])], dtype=torch.float64)
        palm = aim - 0.35 * scale * up  # middle of the knuckles
        height = torch.zeros(face.size, face.size)
        inside = torch.full_like(height, -1e3)
        nails, creases = torch.zeros_like(height), torch.zeros_like(height)

        def add(distance: Tensor, radius: float, lift: float) -> None:
            nonlocal height, inside
            dome = (2 * radius * distance - distance.square()).clamp_min(0).sqrt() + lift * (distance > 0)
            height, inside = torch.maximum(height, dome), torch.maximum(inside, distance)

        wrist = palm - 1.0 * scale * up
        back, _ = capsule(face.grid, palm - 0.34 * scale * up, wrist - 2.5 * scale * up, (0.54 * scale, 0.36 * scale))
        add(back, 0.5 * scale, 0.0)
        lengths = 1 + 0.06 * (torch.rand(4, generator=draw) - 0.5)
        for number, (root, length, radius) in enumerate(_FINGERS):
            root = root * thumb
            start = palm + root * scale * right - 0.12 * scale * up
            lean = spread * root * 3
            way = up * math.cos(lean) + right * math.sin(lean)
            tip = start + (float(lengths[number]) * length + 0.12) * scale * way
            finger, _along = capsule(face.grid, start, tip, (1.06 * radius * scale, 0.84 * radius * scale))
            add(finger, radius * scale, 0.1 * scale)
            self._mark(face, start, tip, radius * scale, nails, creases)
        base = palm - 0.75 * scale * up - 0.42 * thumb * scale * right
        end = base - 0.48 * thumb * scale * right + 0.52 * scale * up
        finger, _ = capsule(face.grid, base, end, (0.2 * scale, 0.145 * scale))
        add(finger, 0.17 * scale, 0.0)
        self._mark(face, base, end, 0.155 * scale, nails, creases)
        return height, inside, nails, creases

    def _mark(self, face: Face, start: Tensor, tip: Tensor, radius: float, nails: Tensor, creases: Tensor) -> None:
        """Add the nail and the lines over two joints of a finger, in place."""
        way = tip - start
        length = float(way.norm())
        x, y = face.grid[0] - float(start[0]), face.grid[1] - float(start[1])
        along = (x * float(way[0]) + y * float(way[1])) / length
        across = (x * float(way[1]) - y * float(way[0])) / length
        nail = (
            1
            - ((along - length - 0.1 * radius) / (0.72 * radius)).abs().pow(2.6)
            - (across / (0.6 * radius)).abs().pow(2.6)
        )
        nails.copy_(torch.maximum(nails, cover(nail * 0.5 * radius)))
        for joint in (0.42, 0.74):
            for shift in (-0.16, 0.0, 0.16):
                middle = length * joint + shift * radius + 0.12 * radius * (across / radius) ** 2
                line = torch.exp(-(((along - middle) / (0.06 * radius + 0.3)) ** 2))
                creases.copy_(
                    torch.maximum(creases, line * smoothstep((0.75 * radius - across.abs()) / (0.4 * radius)))
                )

    def _lit(
        self,
        face: Face,
        height: Tensor,
        inside: Tensor,
        nails: Tensor,
        creases: Tensor,
        scale: float,
        draw: torch.Generator,
    ) -> Tensor:
        """Skin over the relief, (3, S, S)."""
        relief = blurred(height, max(0.7, 0.02 * scale))
        gx = (torch.roll(relief, -1, 1) - torch.roll(relief, 1, 1)) / 2
        gy = (torch.roll(relief, -1, 0) - torch.roll(relief, 1, 0)) / 2
        norm = (1 + gx.square() + gy.square()).sqrt()
        towards = torch.tensor([0.75 * face.light + 0.1, -0.5, 0.8])
        towards = towards / towards.norm()
        lambert = ((-gx * towards[0] - gy * towards[1] + towards[2]) / norm).clamp(0, 1)
        rim = smoothstep(inside / (0.05 * scale))
        light = (0.5 + 0.62 * lambert) * (0.78 + 0.22 * rim)
        mottled = 1 + 0.02 * noise(face.size, 0.06 * scale, draw) + 0.012 * noise(face.size, 1.2, draw)
        light = light * mottled * (1 - 0.16 * creases)
        skin = face.skin.view(3, 1, 1)
        red = torch.tensor((1.03, 0.94, 0.91)).view(3, 1, 1)
        warm = 1.0 if face.black_and_white else red + (1 - red) * light.clamp(0, 1)
        body = skin * warm * light
        pale = skin * 0.6 + 0.4 * torch.tensor((0.92, 0.76, 0.72)).view(3, 1, 1) * face.brightness
        pale = pale.mean(0, keepdim=True).expand_as(body) if face.black_and_white else pale
        gloss = (lambert - 0.85).clamp_min(0) * 1.2
        return body + nails * 0.75 * (pale * (0.75 * light + 0.2) + gloss * face.brightness - body)
