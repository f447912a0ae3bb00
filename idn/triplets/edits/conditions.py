"""Conditions of the whole picture: light, colour, blur and compression."""

import math
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from idn.images import from_uint8, luma, to_uint8
from idn.triplets.drawing import blurred
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, between, chance, finished
from idn.triplets.face import Face


class Light(Edit):
    """Light of a colour from one side, and less of it on the other."""

    makes = ATTRIBUTE

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Brightness changes smoothly over a head that is taken for a ball."""
        angle, strength = between(-math.pi, math.pi, draw), between(0.25, 0.6, draw)
        tint = 1 + between(0.05, 0.25, draw) * (2 * torch.rand(3, generator=draw) - 1)
        a, b = face.coordinates
        x, y = a / 1.5, (b - 0.3) / 1.9
        inside = 1 / (1 + (x.square() + y.square()).pow(2)).sqrt()
        slope = (x * math.cos(angle) + y * math.sin(angle)) * inside
        gain = (1 + 1.5 * strength * slope).clamp(0.2, 1.9)
        colour = 1 + (tint.view(3, 1, 1) - 1) * (0.5 + slope).clamp(0, 1)
        linear = face.image.square() * gain * colour
        image = (linear / (1 + 0.25 * (linear - 0.7).clamp_min(0))).clamp(0, 1).sqrt()
        return finished(face, image, None, {"angle": angle, "strength": strength, "tint": tint})


class Colour(Edit):
    """Another white balance, saturation, contrast and brightness; grey by chance."""

    makes = ATTRIBUTE

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """One after the other."""
        grey, warm, green = chance(0.12, draw), between(-0.2, 0.2, draw), between(-0.07, 0.07, draw)
        saturation, contrast, gamma = between(0.4, 1.5, draw), between(0.75, 1.3, draw), between(0.7, 1.4, draw)
        grey_level = luma(face.image[None])[0]
        image = grey_level + (0.0 if grey else saturation) * (face.image - grey_level)
        image = image.clamp(0, 1).pow(gamma)
        if not grey:
            image = image * torch.tensor((1 + warm, 1 + green, 1 - warm)).view(3, 1, 1)
        image = 0.45 + (image - 0.45) * contrast
        parameters = {"grey": grey, "warm": warm, "green": green, "saturation": saturation, "contrast": contrast}
        return finished(face, image.clamp(0, 1), None, parameters | {"gamma": gamma})


class Blur(Edit):
    """Out of focus, or moved while the picture was taken."""

    makes = ATTRIBUTE

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Either of the two."""
        moved, amount = chance(0.4, draw), between(0.015, 0.05, draw)
        angle = between(0, math.pi, draw)
        if moved:
            image = _smeared(face.image, 3 * amount * face.unit, angle)
        else:
            image = blurred(face.image, amount * face.unit)
        return finished(face, image.clamp(0, 1), None, {"moved": moved, "amount": amount, "angle": angle})


def _smeared(image: torch.Tensor, length: float, angle: float) -> torch.Tensor:
    """(3, S, S) averaged along a line of that many pixels."""
    half = max(1, math.ceil(length / 2))
    steps = torch.linspace(-length / 2, length / 2, 4 * half + 1)
    kernel = torch.zeros(2 * half + 1, 2 * half + 1)
    for x, y in zip((steps * math.cos(angle)).tolist(), (steps * math.sin(angle)).tolist(), strict=True):
        kernel[half + round(y), half + round(x)] += 1
    weights = (kernel / kernel.sum())[None, None]
    return F.conv2d(F.pad(image[None], [half] * 4, mode="replicate").transpose(0, 1), weights)[:, 0]


class Compression(Edit):
    """Compressed as JPEG, of half the size by chance."""

    makes = ATTRIBUTE

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Through the codec."""
        quality, halved = round(between(8, 40, draw)), chance(0.4, draw)
        picture = Image.fromarray(to_uint8(face.image).permute(1, 2, 0).contiguous().numpy())
        if halved:
            picture = picture.resize((face.size // 2, face.size // 2), Image.Resampling.BOX)
        encoded = BytesIO()
        picture.save(encoded, "JPEG", quality=quality)
        with Image.open(encoded, formats=["JPEG"]) as decoded:
            picture = decoded.convert("RGB").resize((face.size, face.size), Image.Resampling.BICUBIC)
        image = from_uint8(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        return finished(face, image, None, {"quality": quality, "halved": halved})
