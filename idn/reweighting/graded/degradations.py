"""Degradations of a swapped face, as failing swappers show them: `degrade` by a strength, `spoil` clearly visibly.

Strength 0 leaves a face as it is, strength 1 is the worst that a failing swapper would show. The scales are chosen so
that a strength costs about the same, as mean error inside the face, whatever the damage. Mixtures with another picture
stop at equal parts: beyond them the picture would become a clean one again, of the wrong person, and no judge of single
pictures could tell.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from idn.errors import OptionError
from idn.images import resize

BLUR = 0.06
"""Standard deviation of the blur at strength 1, as a share of the picture's side."""
NOISE = 0.1
"""Standard deviation of the noise at strength 1."""
MIXTURE = 0.5
"""Share of the other picture in a mixture at strength 1."""
COLOUR = 0.14
"""Largest shift of a colour channel at strength 1; the three channels go in a random direction."""
JPEG_QUALITY = 90.0
"""JPEG quality near strength 0; it falls geometrically to 1 at strength 1."""


class Scene(NamedTuple):
    """A teacher's answers to N pairs and what they can be spoiled with. Images are (N, 3, S, S) RGB in [0, 1]."""

    answer: Tensor
    """What the teacher showed."""
    target: Tensor
    """What it was to change."""
    face: Tensor
    """(N, 1, S, S) in [0, 1]: where it may change it."""
    stranger: Tensor | None = None
    """What it shows when another sample's source is swapped in; needed by "stranger" alone."""


def degrade(scene: Scene, kinds: Sequence[str], strength: float, draw: Generator) -> Tensor:
    """Spoil every answer in one way, drawn from `kinds`, over the whole picture or, as often, inside the face alone.

    kinds: names of KINDS. strength: in [0, 1]. draw: generator on the CPU; it alone decides. Returns (N, 3, S, S) in
    [0, 1]. Raises OptionError for an unknown kind, ValueError for "stranger" in a scene that has none.
    """
    check_kinds(kinds)
    if "stranger" in kinds and scene.stranger is None:
        raise ValueError("scene: 'stranger' needs the picture of one")
    n, device = len(scene.answer), scene.answer.device
    chosen = torch.randint(len(kinds), (n,), generator=draw).to(device)
    everywhere = (torch.rand(n, 1, 1, 1, generator=draw) < 0.5).to(device)
    spoiled = scene.answer.clone()
    for number, kind in enumerate(kinds):
        rows = (chosen == number).nonzero().squeeze(1)
        if len(rows) and strength > 0:
            part = Scene(*(None if field is None else field[rows] for field in scene))
            spoiled[rows] = KINDS[kind](part, strength, draw)
    area = torch.where(everywhere, torch.ones_like(scene.face), scene.face)
    return (scene.answer + area * (spoiled - scene.answer)).clamp(0, 1)


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise OptionError unless there is at least one kind and all are known."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise OptionError("kinds", ", ".join(map(str, kinds)), f"must be some of {', '.join(KINDS)}")


def _blur(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """Gaussian blur."""
    return _soft(scene.answer, strength * BLUR, 3)


def _soft(images: Tensor, share: float, reach: int) -> Tensor:
    """(N, 3, S, S), blurred by a Gaussian of `share` of the side, cut off after `reach` standard deviations."""
    side = images.shape[-1]
    sigma = share * side
    kernel = 2 * min(math.ceil(reach * sigma), (side - 1) // 2) + 1
    from kornia.filters import gaussian_blur2d

    return gaussian_blur2d(images, (kernel, kernel), (sigma, sigma))


def _noise(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """Independent normal noise on every number."""
    return scene.answer + strength * NOISE * torch.randn(scene.answer.shape, generator=draw).to(scene.answer)


def _target(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """The target shines through."""
    return scene.answer + strength * MIXTURE * (scene.target - scene.answer)


def _stranger(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """Another person shines through, in the same pose."""
    return scene.answer + strength * MIXTURE * (scene.stranger - scene.answer)


def _jpeg(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """JPEG of falling quality."""
    quality = scene.answer.new_full((len(scene.answer),), JPEG_QUALITY ** (1 - strength))
    from kornia.enhance import jpeg_codec_differentiable

    return jpeg_codec_differentiable(scene.answer, quality)


def _colour(scene: Scene, strength: float, draw: Generator) -> Tensor:
    """One colour cast."""
    direction = torch.randn(len(scene.answer), 3, 1, 1, generator=draw).to(scene.answer)
    return scene.answer + strength * COLOUR * direction / direction.abs().amax(1, keepdim=True)


KINDS: dict[str, Callable[[Scene, float, Generator], Tensor]] = {
    "blur": _blur,
    "noise": _noise,
    "target": _target,
    "stranger": _stranger,
    "jpeg": _jpeg,
    "colour": _colour,
}
"""Ways to spoil a picture: (scene, strength in (0, 1], generator) -> (N, 3, S, S), which may leave [0, 1]."""


def spoil(image: Tensor, face: Tensor, generator: Generator) -> Tensor:
    """One clearly visible artefact on a face: blotches, colour cast, blur, stripes or a second, shifted face.

    image: (3, S, S) RGB in [0, 1]. face: (1, S, S) in [0, 1]: where it may change. generator: on the CPU; it alone
    decides. Returns (3, S, S) in [0, 1].
    """
    kind = ARTEFACTS[int(torch.randint(len(ARTEFACTS), (), generator=generator))]
    return (image + face * (kind(image, generator).clamp(0, 1) - image)).clamp(0, 1)


def _blotches(image: Tensor, generator: Generator) -> Tensor:
    """Cloudy patches of a wrong colour over about half of the face."""
    field = resize(torch.randn(1, 1, 7, 7, generator=generator).to(image), image.shape[-1])[0]
    return image + (3 * field).sigmoid() * 0.9 * (_strong_colour(image, generator) - image)


def _cast(image: Tensor, generator: Generator) -> Tensor:
    """One colour over everything."""
    return 0.5 * image + 0.5 * _strong_colour(image, generator)


def _average(image: Tensor, generator: Generator) -> Tensor:
    """Nothing but soft spots, with the greyish look of an average face."""
    soft = _soft(image[None], _between(0.05, 0.08, generator), 2)[0]
    return 0.6 * soft + 0.4 * soft.mean((1, 2), keepdim=True)


def _stripes(image: Tensor, generator: Generator) -> Tensor:
    """Light and dark bands in any direction, such as a wrong output range leaves."""
    angle, phase = _between(0, math.pi, generator), _between(0, 2 * math.pi, generator)
    waves = _between(5, 11, generator)
    line = torch.linspace(0, 1, image.shape[-1], device=image.device, dtype=image.dtype)
    along = math.cos(angle) * line[None, :] + math.sin(angle) * line[:, None]
    return image + 0.35 * (2 * math.pi * waves * along + phase).sin()


def _ghost(image: Tensor, generator: Generator) -> Tensor:
    """The face again, mirrored, shifted and bleached."""
    side = 1 if _between(0, 1, generator) < 0.5 else -1
    shift = round(image.shape[-1] * _between(0.1, 0.2, generator))
    again = image.flip(-1).roll((shift, side * shift), (1, 2))
    return 0.45 * image + 0.55 * (0.5 + 0.5 * again)


def _strong_colour(image: Tensor, generator: Generator) -> Tensor:
    """(3, 1, 1): one to two channels full, the others empty."""
    choice = int(torch.randint(1, 7, (), generator=generator))
    return image.new_tensor([choice & 1, choice >> 1 & 1, choice >> 2 & 1]).view(3, 1, 1)


def _between(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


ARTEFACTS = (_blotches, _cast, _average, _stripes, _ghost)
"""Ways in which `spoil` spoils a picture: ((3, S, S), generator) -> (3, S, S), which may leave [0, 1]."""
