"""Stamp of what is written: invisible watermark, XMP or container tags, and a C2PA manifest, in one object."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from idn.errors import FileError, OptionError
from idn.files.atomic import atomic_write
from idn.files.option_checks import require_bool
from idn.provenance.content_credentials import Signature
from idn.provenance.metadata import Lineage, container_tags, xmp_packet
from idn.provenance.watermark import mark

REMINDER = (
    "provenance is off: nothing that is written says that it is synthetic. Say it wherever you show it; many places "
    "forbid to leave it out"
)
KINDS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""File name endings -> formats that keep what a picture says about itself."""
_XMP_TAG = 700
"""TIFF's."""


class Stamp:
    """What every written picture and video says about itself.

    enabled: False writes nothing of it, and prints a reminder.
    certificate, key: PEM files of a signing certificate and its private key, for a C2PA manifest; None writes none.
    Raises OptionError for one without the other, MissingFile, and MissingExtra without `c2pa-python`.
    """

    def __init__(
        self, enabled: bool = True, certificate: str | Path | None = None, key: str | Path | None = None
    ) -> None:
        require_bool("enabled", enabled)
        for name, this, other in (("certificate", certificate, key), ("key", key, certificate)):
            if this is not None and other is None:
                raise OptionError(
                    name, this, f"signs nothing alone: give the {'key' if name[0] == 'c' else 'certificate'}"
                )
        if not enabled and certificate is not None:
            raise OptionError("certificate", certificate, "signs nothing where provenance is off: leave one out")
        if not enabled:
            print(f"idn: {REMINDER}", file=sys.stderr)
        self.enabled = enabled
        self._signature = Signature(Path(certificate), Path(key)) if certificate and key else None

    def pixels(self, pixels: NDArray[np.uint8], limited_range: bool = False) -> NDArray[np.uint8]:
        """A picture or a video frame with the invisible mark; see `mark`."""
        return mark(pixels, limited_range) if self.enabled else pixels

    def tags(self, lineage: Lineage) -> dict[str, str]:
        """What goes into the tags of a video's container; see `container_tags`."""
        return container_tags(lineage) if self.enabled else {}

    def sign(self, path: Path, lineage: Lineage) -> None:
        """Sign a whole file, such as the draft of a video once its container is closed, if there is a certificate."""
        if self._signature is not None:
            self._signature.sign(path, lineage)

    def save(self, picture: Image.Image | NDArray[np.uint8], path: Path, lineage: Lineage, quality: int = 95) -> None:
        """Write a picture with everything in it. It appears under its name only once it is whole.

        picture: an image of mode RGB, RGBA, L or LA, or an array of its pixels, (H, W, 3) uint8 RGB.
        path: its ending says the format: PNG, JPEG, WebP, AVIF, TIFF. Others keep no metadata.
        quality: of JPEG, WebP and AVIF, 1 to 100.
        Keeps the colour profile of an image, and nothing else of its metadata.
        Raises FileError for other endings and what cannot be written, MissingFile never.
        """
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        kind = KINDS.get(path.suffix.lower())
        if kind is None:
            raise FileError(path, f"would not keep what it says about itself: let it end with {', '.join(KINDS)}")
        options: dict[str, Any] = {} if kind in ("PNG", "TIFF") else {"quality": quality}
        if (profile := image.info.get("icc_profile")) is not None:
            options["icc_profile"] = profile
        if self.enabled:
            image = Image.fromarray(self.pixels(np.asarray(image)), image.mode)
            options |= _metadata(kind, lineage)
        if kind == "JPEG" and image.mode in ("RGBA", "LA"):
            raise FileError(path, "cannot hold the transparency of the picture: let it end with .png")
        with atomic_write(path) as draft:
            image.save(draft, kind, **options)
            self.sign(draft, lineage)


def _metadata(kind: str, lineage: Lineage) -> dict[str, Any]:
    """What Pillow takes to write the metadata of a picture in a format."""
    packet = xmp_packet(lineage)
    if kind == "TIFF":
        return {"tiffinfo": {_XMP_TAG: packet}, "compression": "tiff_lzw"}
    if kind != "PNG":
        return {"xmp": packet}
    return {"pnginfo": png_metadata(lineage)}


def png_metadata(lineage: Lineage) -> PngImagePlugin.PngInfo:
    """What a PNG says of where it comes from: texts, and XMP."""
    info = PngImagePlugin.PngInfo()
    for key, value in lineage.fields().items():
        info.add_text(key, value)
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(lineage).decode())
    return info
