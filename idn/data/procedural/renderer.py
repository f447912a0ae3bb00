"""Renderer: faces drawn from two vectors, who (identity) and how (attributes).

The geometry, the light and everything soft are computed on a grid of half the size and enlarged; edges are drawn at
full size with analytic anti-aliasing. A render is a pure function of its two vectors: all randomness is in them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.procedural.backdrop import paint_backdrop
from idn.data.procedural.camera import develop
from idn.data.procedural.drawing import over
from idn.data.procedural.features.accessories import paint_accessories
from idn.data.procedural.features.eyes import paint_brows, paint_eyes
from idn.data.procedural.features.hair import Hair
from idn.data.procedural.features.mouth import paint_mouth, paint_nostrils
from idn.data.procedural.features.skin import spots, undercoat
from idn.data.procedural.light import Lamp, shade
from idn.data.procedural.parameters import ATTRIBUTES, IDENTITY, Traits, index, uniform
from idn.data.procedural.pose import Pose, Rays
from idn.data.procedural.surface import Face, Hit
from idn.data.procedural.textures import Textures
from idn.files.option_checks import require_number

SMALLEST = 16
FINE_UP_TO = 64
EYE_BAND = (0.16, 0.64)
MOUTH_BAND = (0.44, 0.94)
"""Rows of a crop, from 0 to 1, that hold eyes and brows, nostrils and mouth, whatever the vectors are."""
CHUNK_PIXELS = 131_072
"""Pixels drawn at once: more would leave the processor's cache."""


class FaceRender(NamedTuple):
    """N pictures and what is known about them."""

    image: Tensor
    """(N, 3, S, S) RGB in [0, 1]."""
    face: Tensor
    """(N, 1, S, S) in [0, 1]: visible face: skin up to the hairline, brows, eyes, nose, mouth, the sides of the head
    and what is seen through lenses; without hair, frames, occluders, collar and background."""
    landmarks: Tensor
    """(N, 5, 2) in normalised crop coordinates: eyes, nose tip, mouth corners, as in `idn.geometry`."""


class FaceRenderer:
    """Draws face crops of people who do not exist, in the framing `template`."""

    identity_dim: int = len(IDENTITY)
    attribute_dim: int = len(ATTRIBUTES)
    template: str = "ffhq"

    def __init__(self, glasses: float = 0.15, occluders: float = 0.12) -> None:
        """glasses, occluders: probability of each in `sample_attributes`. Raises OptionError outside [0, 1]."""
        require_number("glasses", glasses, 0, 1)
        require_number("occluders", occluders, 0, 1)
        self.glasses = glasses
        self.occluders = occluders
        self._textures = Textures()

    def sample_identity(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, identity_dim) in [-1, 1): independent uniform values."""
        return uniform(IDENTITY, n, generator)

    def sample_attributes(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, attribute_dim) in [-1, 1): independent uniform values, glasses and occluders as often as asked for."""
        vectors = uniform(ATTRIBUTES, n, generator)
        for name, probability in (("glasses", self.glasses), ("occluder", self.occluders)):
            chance = torch.rand(n, 2, generator=generator, device=vectors.device)
            vectors[:, index(ATTRIBUTES, name)] = torch.where(chance[:, 0] < probability, chance[:, 1], -1.0)
        return vectors

    @torch.no_grad()
    def render(self, identity: Tensor, attributes: Tensor, size: int) -> FaceRender:
        """Draw the people of `identity`, (N, identity_dim), in the situations of `attributes`, (N, attribute_dim).

        size: S, at least 16. Nothing carries a gradient. Raises ValueError on other shapes, on N that differ and on
        a smaller size.
        """
        if len(identity) != len(attributes):
            raise ValueError(f"got {len(identity)} identities and {len(attributes)} attribute vectors")
        if size < SMALLEST:
            raise ValueError(f"size is {size}, the smallest is {SMALLEST}")
        self._textures.to(identity.device)
        step = max(1, CHUNK_PIXELS // size**2)
        parts = [
            self._draw(Traits(IDENTITY, who), Traits(ATTRIBUTES, how), size)
            for who, how in zip(identity.split(step), attributes.split(step), strict=True)
        ]
        return FaceRender(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _draw(self, identity: Traits, attributes: Traits, size: int) -> FaceRender:
        pose, lamp, face = Pose(attributes), Lamp(attributes), Face(identity, attributes)
        rays = pose.rays(size)
        hit, skin, image = self._skin(face, pose, lamp, attributes, rays)
        hair = Hair(attributes, pose, lamp, rays, self._textures)
        over(image, hair.color * 0.55, hair.back)
        visible = head_cover(hit)
        over(image, skin, visible)
        over(image, hair.color, hair.front)
        visible *= 1 - hair.front
        paint_accessories(image, visible, attributes)
        image = develop(image, attributes, self._textures)
        return FaceRender(image, visible.unsqueeze(1), face.landmarks(pose))

    def _skin(self, face: Face, pose: Pose, lamp: Lamp, attributes: Traits, rays: Rays) -> tuple[Hit, Tensor, Tensor]:
        """Where the rays meet the head, the lit skin there, and the backdrop: (N, 3, S, S) each."""
        size = rays.y.shape[-1]
        coarse = size if size <= FINE_UP_TO else (size + 1) // 2
        thin = rays if coarse == size else pose.rays(coarse)
        hit, relief = face.intersect(thin)
        light, sheen = shade(face, pose, lamp, hit, relief)
        soft = [light, undercoat(face, hit), paint_backdrop(attributes, lamp, thin, coarse, self._textures)]
        soft += [sheen.unsqueeze(1), hit.y.unsqueeze(1), relief.unsqueeze(1)]
        fields = enlarge(torch.cat(soft, 1), size)
        light, albedo, backdrop = fields[:, :3], fields[:, 3:6], fields[:, 6:9]
        sheen, y, relief = fields[:, 9:].unbind(1)
        hit = face.meet(rays, y, relief)
        spots(albedo, face, hit, self._textures, rays.pixel)
        band, part = hit.rows(MOUTH_BAND)
        paint_nostrils(albedo[:, :, band], face, part)
        paint_mouth(albedo[:, :, band], sheen[:, band], face, part, rays.pixel)
        band, part = hit.rows(EYE_BAND)
        paint_eyes(albedo[:, :, band], sheen[:, band], face, attributes, part, rays.pixel)
        paint_brows(albedo[:, :, band], face, part, rays.pixel)
        return hit, albedo.mul_(light).add_(sheen.mul_(0.13).unsqueeze(1)), backdrop


def enlarge(fields: Tensor, size: int) -> Tensor:
    """Bilinear (N, C, h, h) -> (N, C, size, size), as two matrix products: faster than resampling."""
    coarse = fields.shape[-1]
    if coarse == size:
        return fields
    units = torch.eye(coarse, dtype=fields.dtype, device=fields.device).unsqueeze(0)
    weights = F.interpolate(units, size, mode="linear", align_corners=False)[0]
    return weights.T @ (fields @ weights)


def head_cover(hit: Hit) -> Tensor:
    """Anti-aliased coverage of the head, (N, H, W), from the room that rays have inside it."""
    wide = F.pad(hit.room.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    slope = (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]).square_()
    slope += (wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]).square_()
    return (hit.room * 2).mul_(slope.add_(1e-9).rsqrt_()).add_(0.5).clamp_(0, 1)
