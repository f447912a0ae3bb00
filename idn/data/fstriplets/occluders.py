"""Occluders: cut-outs pasted anywhere on a picture, with a known mask."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.stable_draws import below
from idn.errors import FileError
from idn.files.cut_outs import read_cut_out
from idn.files.photos import UnreadablePhoto

LEAST, MOST = 0.25, 0.375
"""Longer side of an occluder as a share of that of the picture."""
_ATTEMPTS = 20


class Occluders:
    """Cut-outs below a folder."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root, self.names = root, names

    def draw(self, size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Colours (1, 3, size, size) and how far they cover the picture, (1, 1, size, size), both in [0, 1].

        Raises FileError if too many of them cannot be read.
        """
        said = ""
        for _ in range(_ATTEMPTS):
            name = self.names[below(len(self.names), draw)]
            side = round(size * LEAST) + below(round(size * (MOST - LEAST)) + 1, draw)
            try:
                colours, cover = read_cut_out(self.root / name, side)
            except UnreadablePhoto as error:
                said = f"{name} ({error})"
                continue
            height, width = cover.shape[-2:]
            top, left = below(size - height + 1, draw), below(size - width + 1, draw)
            room = (left, size - left - width, top, size - top - height)
            return F.pad(colours, room)[None], F.pad(cover, room)[None]
        raise FileError(self.root, f"holds too many occluders that cannot be read, such as {said}: remove them")


def paste(image: Tensor, colours: Tensor, cover: Tensor) -> Tensor:
    """Lay colours over an image, (1, 3, S, S) each, as far as `cover`, (1, 1, S, S), says."""
    return image + cover * (colours - image)
