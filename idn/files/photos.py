"""Photographs on disk: which files count, how they are read, how a picture is written all or nothing."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""File name endings, in lower case, of what is taken for a photograph."""

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, Image.DecompressionBombError)
"""What Pillow raises on damaged files, depending on the format and on where the damage lies."""


class UnreadablePhoto(Exception):
    """A file that is named like a photograph and cannot be decoded. The message says why."""


def list_photos(root: Path) -> list[str]:
    """Every photograph below `root`, as sorted POSIX paths relative to it.

    Looks into all folders and follows linked ones; leaves out names that begin with a dot (half-written files, the
    shadow files of macOS) and everything inside such folders.
    """
    found = []
    for folder, inside, names in os.walk(root, followlinks=True):
        inside[:] = [name for name in inside if not name.startswith(".")]
        base = Path(folder).relative_to(root)
        found += [(base / n).as_posix() for n in names if not n.startswith(".") and Path(n).suffix.lower() in SUFFIXES]
    return sorted(found)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode -> RGB: 16-bit grey is scaled, transparent parts are laid over mid-grey."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float32)
        return Image.fromarray((grey / 256 if grey.max() > 255 else grey).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (128, 128, 128, 255)), layer).convert("RGB")
    return image.convert("RGB")


def read_photo(path: Path) -> Tensor:
    """Decode a file upright, as its EXIF orientation says. Returns (3, H, W) uint8 RGB.

    Raises UnreadablePhoto for whatever cannot be decoded completely.
    """
    try:
        with Image.open(path) as image:
            return as_pixels(image)
    except _DAMAGE as error:
        raise UnreadablePhoto(f"{type(error).__name__}: {error}") from error


def as_pixels(image: Image.Image) -> Tensor:
    """An image of any Pillow mode, upright as its EXIF orientation says -> (3, H, W) uint8 RGB."""
    return torch.from_numpy(np.array(_as_rgb(ImageOps.exif_transpose(image)))).permute(2, 0, 1).contiguous()


def photo_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, as the beginning of a file says; None where it says nothing."""
    try:
        with Image.open(path) as image:
            return image.size
    except _DAMAGE:
        return None


def write_photo(path: Path, pixels: Tensor, quality: int) -> None:
    """Write (3, H, W) uint8 RGB as the suffix of `path` says. `quality` (1..100) is for JPEG and WebP.

    The picture appears under its name only once it is whole. Raises OSError if the disk refuses.
    """
    encoded = BytesIO()
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[path.suffix]
    options = {} if kind == "PNG" else {"quality": quality}
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(encoded, kind, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(encoded.getvalue())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
