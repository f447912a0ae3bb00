"""Cut-outs: pictures of things with transparency, or on a white background."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idn.files.photos import FORMATS, UnreadablePhoto, printable

_WHITE = 250
"""Grey level from which a pixel without transparency counts as background, if that is so of all its colours."""


def read_cut_out(path: Path, size: int) -> tuple[Tensor, Tensor]:
    """Colours (3, h, w) and how far they cover what is behind, (1, h, w), both in [0, 1]; the longer side is `size`.

    Where a picture has no transparency, white is its background. Its empty border is cut off. Raises UnreadablePhoto
    for what cannot be decoded, and for a picture that shows nothing.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            layer = image.convert("RGBA")
    except Exception as error:  # readers raise whatever a damaged file brings about
        raise UnreadablePhoto(printable(f"{type(error).__name__}: {error}")) from error
    if layer.getchannel("A").getextrema() == (255, 255):
        white = np.asarray(layer)[..., :3].min(-1) >= _WHITE
        layer.putalpha(Image.fromarray(np.where(white, 0, 255).astype(np.uint8)))
    box = layer.getchannel("A").getbbox()
    if box is None:
        raise UnreadablePhoto("it shows nothing: all of it is transparent or white")
    layer = layer.crop(box)
    share = size / max(layer.size)
    sides = tuple(max(1, round(side * share)) for side in layer.size)
    premultiplied = layer.convert("RGBa").resize(sides, Image.Resampling.BOX if share < 1 else Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(premultiplied.convert("RGBA"))).permute(2, 0, 1).float() / 255
    return pixels[:3], pixels[3:]
