"""Pixel types and ICC colour profiles: whatever Pillow opens -> 8-bit sRGB, or why that cannot be said."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
_ALPHA = {"RGBA": "RGB", "RGBa": "RGB", "LA": "L", "La": "L", "PA": "RGB"}
"""Modes with transparency -> what carries their colours."""
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Colour space of a profile -> the mode that it is for."""
_GREY = (128, 128, 128)
"""What transparent parts are laid over."""
_BITS, _WHITE_IS = 258, 262
"""TIFF tags: bits per sample; photometric interpretation, 0 where 0 is white."""


class UnknownRange(Exception):
    """Numbers that may be brightnesses on any scale. The message says what they are."""


def to_srgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """A loaded picture of any mode as 8-bit RGB, and what had to be passed over to get it, if anything.

    Integers of 16 bits and floats are scaled by the range of their type or by what they can only mean, embedded
    colour profiles are converted, transparent parts are laid over mid-grey. Raises UnknownRange.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_bytes(image)).convert("RGB"), None
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return _managed(image, image.info.get("icc_profile"))
    profile, layer = image.info.get("icc_profile"), image.convert("RGBA")
    colours, note = _managed(layer.convert(_ALPHA.get(image.mode, "RGB")), profile)
    flat = Image.new("RGB", image.size, _GREY)
    flat.paste(colours, mask=layer.getchannel("A"))
    return flat, note


def _managed(image: Image.Image, embedded: bytes | None) -> tuple[Image.Image, str | None]:
    """Colours of an opaque picture by its profile, or by the usual formulas where it has none or a broken one."""
    note = None
    if embedded:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(embedded))
            if ImageCms.getProfileDescription(profile).startswith("sRGB") and image.mode != "LAB":
                return image.convert("RGB"), None
            return _transformed(image.convert(_SPACES[profile.profile.xcolor_space.strip()]), profile), None
        except Exception as error:  # whatever a damaged profile brings about
            note = f"its colour profile is passed over ({type(error).__name__}: {error})"
    if image.mode == "LAB":
        return _transformed(image, ImageCms.createProfile("LAB")), note
    return image.convert("RGB"), note


def _transformed(image: Image.Image, profile: object) -> Image.Image:
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.profileToProfile(image, profile, _SRGB, intent, outputMode="RGB", flags=flags)


def _to_bytes(image: Image.Image) -> np.ndarray:
    """Grey in integers of 12 to 32 bits or in floats -> (H, W) uint8. Raises UnknownRange."""
    values = np.asarray(image).astype(np.float64)
    tags = getattr(image, "tag_v2", {})
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high) and low >= 0):
        raise UnknownRange(f"its brightnesses run from {low:g} to {high:g}")
    white = _white(image.mode, high, tags.get(_BITS, (16,))[0])
    if tags.get(_WHITE_IS) == 0:
        values = white - values
    return (values * (255 / white) + 0.5).clip(0, 255).astype(np.uint8)


def _white(mode: str, high: float, bits: int) -> float:
    """The number that means white: that of the type, or the one that the largest number of the picture allows."""
    if mode.startswith("I;"):
        return 2.0**bits - 1
    for white in (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0):
        # Floats just above 1 are neither: too large for [0, 1], and a picture in [0, 255] would be black.
        if high <= white and not (mode == "F" and 1 < high < 16):
            return white
    raise UnknownRange(f"its brightnesses go up to {high:g}, on no known scale")
