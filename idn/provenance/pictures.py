"""Pictures for people: labelled grids, and image files that say that they are synthetic."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from idn.images import to_uint8
from idn.provenance.metadata import Lineage
from idn.provenance.stamp import Stamp

CAPTION_HEIGHT = 18


def label_columns(columns: Mapping[str, Tensor], gap: int = 2) -> np.ndarray:
    """One column per name, one row per sample, names on top.

    columns: (N, 3, S, S) in [0, 1] each, equal shapes. Returns (H, W, 3) uint8.
    """
    images = [image for row in zip(*columns.values(), strict=True) for image in row]
    grid = make_grid([image.detach().float().cpu() for image in images], nrow=len(columns), padding=gap, pad_value=1.0)
    body = to_uint8(grid).permute(1, 2, 0).numpy()
    head = Image.new("RGB", (body.shape[1], CAPTION_HEIGHT), "white")
    draw, font = ImageDraw.Draw(head), ImageFont.load_default(12)
    pitch = next(iter(columns.values())).shape[-1] + gap
    for index, name in enumerate(columns):
        draw.text((gap + index * pitch + pitch / 2, CAPTION_HEIGHT / 2), name, fill="black", font=font, anchor="mm")
    return np.concatenate([np.asarray(head), body])


def save_synthetic(picture: np.ndarray, path: Path, notes: Mapping[str, str]) -> None:
    """Write (H, W, 3) uint8 in a format that can say that it shows synthetic faces, such as PNG: in its metadata and by
    an invisible mark (idn/provenance/watermark.py). The metadata also hold `notes`; `model_sha256` is the network's."""
    Stamp().save(picture, path, Lineage(notes.get("model_sha256"), notes))
