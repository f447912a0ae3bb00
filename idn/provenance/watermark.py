"""An invisible mark that says "made by a face swapper", in the picture itself, where metadata gets lost.

The mark is a fixed pattern of signs, one per 8x8 block, repeated every 16 blocks. Every block's brightness gets
as much of one wave as is missing to `STRENGTH` in the direction of its sign. Whoever knows the pattern finds it
again after JPEG, cropping and changes of colour, by asking whether all the differences agree with it on average; a
picture that was resized or rotated has lost it. It proves nothing by its absence.
"""

import math

import torch
from torch import Tensor

from idn.images import luma

BLOCK, TILE = 8, 16
STRENGTH = 7 / 255
"""Wanted amount of the wave (of norm 1, brightness in [0, 1]): at most two grey levels at a pixel of a flat block."""
LIMIT = 14 / 255
"""Largest change of it, so that no edge is bent: a block that would need more is left short."""
FOUND = 6.5
"""Standard deviations above chance at which a mark counts as found: the best of 16,384 places reaches 5 by chance."""


def _pattern() -> Tensor:
    """(TILE, TILE) of +1 and -1, always the same."""
    generator = torch.Generator().manual_seed(0x1D4)
    return (torch.rand(TILE, TILE, generator=generator) < 0.5).float() * 2 - 1


def _wave() -> Tensor:
    """(BLOCK, BLOCK) of norm 1: the wave (1, 2) less the wave (2, 1) of the cosine transform."""
    x = (torch.arange(BLOCK) + 0.5) * math.pi / BLOCK
    one, two = torch.cos(x), torch.cos(2 * x)
    wave = torch.outer(one, two) - torch.outer(two, one)
    return wave / wave.norm()


def mark(images: Tensor) -> Tensor:
    """Add the mark. images: (N, 3, H, W) RGB in [0, 1]. Returns the same shape, in [0, 1].

    Blocks that already agree with the pattern stay as they are; sides that no whole block fits into, too.
    """
    rows, columns = (side // BLOCK for side in images.shape[-2:])
    if not rows or not columns:
        return images
    wave = _wave().to(images)
    signs = _signs(rows, columns).to(images)
    lacking = (STRENGTH - signs * _differences(images, wave)).clamp(0, LIMIT)
    change = torch.kron((signs * lacking).unsqueeze(-1).unsqueeze(-1), wave).permute(0, 1, 3, 2, 4)
    change = change.reshape(len(images), 1, rows * BLOCK, columns * BLOCK)
    marked = images.clone()
    marked[..., : rows * BLOCK, : columns * BLOCK] += change
    return marked.clamp(0, 1)


def evidence(images: Tensor) -> Tensor:
    """How far the mark stands out of chance, in standard deviations, wherever the picture was cropped.

    images: (N, 3, H, W) RGB in [0, 1]. Returns (N,): `FOUND` and more in marked pictures of 256 px and up and in most
    smaller ones, below it in all others. 0 for pictures smaller than a block.
    """
    wave = _wave().to(images)
    best = images.new_zeros(len(images))
    for top in range(BLOCK):
        for left in range(BLOCK):
            part = images[..., top:, left:]
            if min(part.shape[-2:]) >= BLOCK:
                best = torch.maximum(best, _agreement(_differences(part, wave)))
    return best


def _differences(images: Tensor, wave: Tensor) -> Tensor:
    """(N, rows, columns): how much of the wave is in the brightness of every block."""
    rows, columns = (side // BLOCK for side in images.shape[-2:])
    grey = luma(images)[:, 0, : rows * BLOCK, : columns * BLOCK]
    blocks = grey.reshape(len(images), rows, BLOCK, columns, BLOCK)
    return torch.einsum("nricj,ij->nrc", blocks, wave)


def _signs(rows: int, columns: int) -> Tensor:
    """(rows, columns): the pattern, repeated."""
    return _pattern().repeat(-(-rows // TILE), -(-columns // TILE))[:rows, :columns]


def _agreement(differences: Tensor) -> Tensor:
    """(N,): the best agreement over all shifts of the pattern. Large differences count little: those are edges."""
    n, rows, columns = differences.shape
    calm = (differences / STRENGTH).clamp(-1, 1)
    padded = calm.new_zeros(n, -(-rows // TILE) * TILE, -(-columns // TILE) * TILE)
    padded[:, :rows, :columns] = calm
    folded = padded.reshape(n, -1, TILE, padded.shape[2] // TILE, TILE).sum((1, 3))
    scores = torch.fft.ifft2(torch.fft.fft2(folded) * torch.fft.fft2(_pattern().to(folded)).conj()).real
    spread = calm.square().sum((1, 2)).sqrt().clamp_min(1e-6)
    return scores.amax((1, 2)) / spread
