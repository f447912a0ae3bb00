"""PNG files of triplets: pixel for pixel what was made, and marked as synthetic in their metadata alone."""

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch import Tensor

from idn.files.photos import digest
from idn.images import to_uint8
from idn.provenance.metadata import Lineage
from idn.provenance.stamp import png_metadata

_LEVEL = 2
"""Of compression: quick rather than small."""
_COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
"""IPTC digital source type: a composite with synthetic elements, which no trained network made."""
DRAWN = "A drawn face; it is no photograph of anybody."
CHANGED = "A face that idn triplets changed; it is not as it was photographed."
CHANGED_ELSEWHERE = "A face that another program changed; it is not as it was photographed."


def encode(pixels: Tensor, comment: str | None, notes: Mapping[str, str] | None = None) -> bytes:
    """(3, H, W) or (H, W) uint8 as PNG; `comment` says that a picture is synthetic, None that it is a photograph.

    There is no invisible mark as on other pictures: it would change pixels outside of an edit's region, and a network
    would learn it.
    """
    encoded = BytesIO()
    image = Image.fromarray((pixels if pixels.ndim == 2 else pixels.permute(1, 2, 0)).contiguous().numpy())
    said = {"DigitalSourceType": _COMPOSITE, "Comment": comment or "", **(notes or {})}
    info = None if comment is None else png_metadata(Lineage(notes=said))
    image.save(encoded, "PNG", pnginfo=info, compress_level=_LEVEL)
    return encoded.getvalue()


def encode_region(region: Tensor) -> bytes:
    """(S, S) in [0, 1] as a grey PNG: above 0 wherever the region is."""
    grey = to_uint8(region)
    grey[(region > 0) & (grey == 0)] = 1
    return encode(grey, None)


def put(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all. Raises OSError if the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:  # also Ctrl-C
        part.unlink(missing_ok=True)
        raise


def link(path: Path, to: Path) -> None:
    """Make `path` the same file as `to`, or a copy where the disk knows no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.unlink(missing_ok=True)
    try:
        os.link(to, part)
    except OSError:
        put(path, to.read_bytes())
        return
    part.replace(path)
    part.unlink(missing_ok=True)  # both names were one file already


def _part(path: Path) -> Path:
    return path.with_name(f".{digest(path.name.encode('utf-8', 'surrogateescape'))}.part")
