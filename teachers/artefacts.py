"""Ways to spoil a face, as failing swappers do. Each changes one picture; all numbers come from its own generator."""

import math

import torch
from torch import Generator, Tensor

from idn.images import resize


def spoil(image: Tensor, face: Tensor, generator: Generator) -> Tensor:
    """One clearly visible artefact on a face: blotches, colour cast, blur, stripes or a second, shifted face.

    image: (3, S, S) RGB in [0, 1]. face: (1, S, S) in [0, 1]: where it may change. generator: on the CPU; it alone
    decides. Returns (3, S, S) in [0, 1].
    """
    kind = _KINDS[int(torch.randint(len(_KINDS), (), generator=generator))]
    return (image + face * (kind(image, generator).clamp(0, 1) - image)).clamp(0, 1)


def _blotches(image: Tensor, generator: Generator) -> Tensor:
    """Cloudy patches of a wrong colour over about half of the face."""
    field = resize(torch.randn(1, 1, 7, 7, generator=generator).to(image), image.shape[-1])[0]
    return image + (3 * field).sigmoid() * 0.9 * (_strong_colour(image, generator) - image)


def _cast(image: Tensor, generator: Generator) -> Tensor:
    """One colour over everything."""
    return 0.5 * image + 0.5 * _strong_colour(image, generator)


def _blur(image: Tensor, generator: Generator) -> Tensor:
    """Nothing but soft spots, with the greyish look of an average face."""
    sigma = image.shape[-1] * _between(0.05, 0.08, generator)
    kernel = 2 * min(math.ceil(2 * sigma), (image.shape[-1] - 1) // 2) + 1
    from kornia.filters import gaussian_blur2d

    soft = gaussian_blur2d(image[None], (kernel, kernel), (sigma, sigma))[0]
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


_KINDS = (_blotches, _cast, _blur, _stripes, _ghost)
