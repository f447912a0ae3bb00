"""Pictures for people: labelled grids, and image files that say that they are synthetic."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor
from torchvision.utils import make_grid

from idn.images import from_uint8, to_uint8
from idn.provenance.watermark import mark

CAPTION_HEIGHT = 18
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
"""IPTC digital source type: a composite that contains synthetic elements."""


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
    """Write (H, W, 3) uint8 as PNG that says that it shows synthetic faces: in its metadata, which also holds `notes`,
    and by an invisible mark (idn/provenance/watermark.py)."""
    marked = to_uint8(mark(from_uint8(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])))[0].permute(1, 2, 0)
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "IDN (idn-distill)")
    info.add_text("DigitalSourceType", SYNTHETIC)
    info.add_text("Comment", "Contains faces made by a face-swapping network; they are not photographs of anybody.")
    for key, value in notes.items():
        info.add_text(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(marked.numpy()).save(path, pnginfo=info)
