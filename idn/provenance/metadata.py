"""Metadata of synthetic pictures and videos: XMP with IPTC's DigitalSourceType, and the tags of video containers."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from PIL import Image

import idn

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC digital source type: a composite, of which a trained network made a part."""
SYNTHETIC_TYPES = ("compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia", "compositeSynthetic")
"""Last words of the types that say that a picture is synthetic, in whole or in part."""
TOOL = "IDN (idn-distill)"
COMMENT = "Contains faces made by a face-swapping network; they are not photographs of anybody."
XMP_LIMIT = 1 << 20
"""Bytes of the largest XMP packet that is read."""
_XMP = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "idn": "https://idn-distill.invalid/xmp/1.0/",
}
"""Namespaces; ours is a name, not an address, and can never be one."""


class Lineage(NamedTuple):
    """Where a picture comes from."""

    model: str | None = None
    """SHA-256 of the file of the network that made it, in hexadecimal digits."""
    notes: Mapping[str, str] = {}
    """What else its metadata shall say: keys of letters, digits and _ that begin with a letter."""

    def fields(self) -> dict[str, str]:
        """Everything that is said, by name; see `from_fields` of what is read again."""
        model = {} if self.model is None else {"Model": f"sha256:{self.model}"}
        return {
            "Software": f"{TOOL} {idn.__version__}",
            "DigitalSourceType": SYNTHETIC,
            "Comment": COMMENT,
            **model,
            **self.notes,
        }


def xmp_packet(lineage: Lineage) -> bytes:
    """The XMP packet of a picture, in UTF-8. Raises ValueError for a note whose key XMP has no name for."""
    said = lineage.fields()
    attributes = {
        "xmp:CreatorTool": said.pop("Software"),
        "ext:DigitalSourceType": said.pop("DigitalSourceType"),
        "ext:AISystemUsed": TOOL,
        "ext:AISystemVersionUsed": idn.__version__,
    }
    for key, value in said.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
            raise ValueError(f"note {key!r} must be letters, digits and _, a letter first")
        attributes[f"idn:{key}"] = value
    names = "".join(f' xmlns:{prefix.replace("ext", "Iptc4xmpExt")}="{name}"' for prefix, name in _XMP.items())
    values = "".join(f" {key.replace('ext:', 'Iptc4xmpExt:')}={quoteattr(value)}" for key, value in attributes.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta{names}><rdf:RDF><rdf:Description rdf:about=""{values}/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    ).encode()


def container_tags(lineage: Lineage) -> dict[str, str]:
    """Tags of a video: `container.metadata.update(container_tags(lineage))` in PyAV, before the first packet.

    All is in `comment`, which MP4, MOV, Matroska, WebM and AVI keep, while most drop names that they do not know.
    """
    said = lineage.fields()
    comment = said.pop("Comment")
    return {"comment": f"{comment} {'; '.join(f'{key}={value}' for key, value in said.items())}"}


def said_by_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """What the tags of a container say of where the video comes from, by name; nothing where they are another's."""
    for value in tags.values():
        if "DigitalSourceType=" in value:
            pairs = re.findall(r"(?:^|[ ;])([A-Za-z][A-Za-z0-9_]*)=([^;]*)", value)
            return {key: text.strip() for key, text in pairs}
    return {}


def said_by_picture(image: Image.Image) -> dict[str, str]:
    """What the metadata of an opened picture says of where it comes from, by name: its XMP, and the texts of a PNG."""
    said = {}
    for key in ("Software", "DigitalSourceType", "Comment", "Model"):
        if isinstance(value := image.info.get(key), str):
            said[key] = value
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _tiff_packet(image)
    return said | _said_by_xmp(packet.encode() if isinstance(packet, str) else packet or b"")


def _tiff_packet(image: Image.Image) -> bytes | str | None:
    """The XMP packet of a TIFF file."""
    return dict(getattr(image, "tag_v2", {})).get(700)


def _said_by_xmp(packet: bytes) -> dict[str, str]:
    """The same of an XMP packet; nothing of one that is damaged, large, or declares entities of its own."""
    packet = packet.strip(b"\0 \n")
    if not packet or len(packet) > XMP_LIMIT or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    try:
        root = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return {}
    said = {}
    for node in root.iter(f"{{{_XMP['rdf']}}}Description"):
        values = {**node.attrib, **{child.tag: child.text or "" for child in node}}
        for tag, value in values.items():
            space, _, name = tag.removeprefix("{").rpartition("}")
            if space == _XMP["idn"] or (space == _XMP["ext"] and name == "DigitalSourceType"):
                said[name] = value.strip()
            elif space == _XMP["xmp"] and name == "CreatorTool":
                said["Software"] = value.strip()
    return said


def says_synthetic(said: Mapping[str, str]) -> bool:
    """Whether metadata calls a picture synthetic, in whole or in part."""
    return said.get("DigitalSourceType", "").rpartition("/")[2] in SYNTHETIC_TYPES
