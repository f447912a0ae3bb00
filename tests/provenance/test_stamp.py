"""What written pictures say about themselves, read again from the files."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idn.errors import FileError, MissingExtra, MissingFile, OptionError
from idn.provenance.content_credentials import read_credentials
from idn.provenance.metadata import (
    SYNTHETIC,
    Lineage,
    container_tags,
    said_by_picture,
    said_by_tags,
    says_synthetic,
    xmp_packet,
)
from idn.provenance.stamp import KINDS, REMINDER, Stamp
from idn.provenance.watermark_search import find_mark
from tests.provenance.certificates import write_certificate
from tests.raising import raises

LINEAGE = Lineage("ab" * 32, {"Encoder": 'mobilefacenet "<&>"'})


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[:160, :200]
    return np.stack([rows, columns, 255 - rows], -1).astype(np.uint8)


@pytest.mark.parametrize("ending", KINDS)
def test_every_format_says_it_in_metadata_and_pixels(picture: np.ndarray, ending: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"made{ending}"
    Stamp().save(picture, path, LINEAGE, quality=80)
    with Image.open(path) as image:
        said = said_by_picture(image)
        assert find_mark([np.asarray(image.convert("RGB"))], resized=False).found
    assert says_synthetic(said) and said["DigitalSourceType"] == SYNTHETIC
    assert said["Software"].startswith("IDN") and said["Model"] == f"sha256:{'ab' * 32}"
    assert said["Encoder"] == LINEAGE.notes["Encoder"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA"])
def test_opacity_and_colour_profile_are_kept(picture: np.ndarray, mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(picture).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(picture[..., 1]))
    image.info["icc_profile"] = b"profile" * 20
    Stamp().save(image, tmp_path / "a.png", LINEAGE)
    with Image.open(tmp_path / "a.png") as read:
        assert read.mode == mode and read.info["icc_profile"] == b"profile" * 20
        if "A" in mode:
            np.testing.assert_array_equal(np.asarray(read)[..., -1], picture[..., 1])


def test_off_writes_nothing_and_says_so(
    picture: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = Stamp(enabled=False)
    assert REMINDER in capsys.readouterr().err
    stamp.save(picture, tmp_path / "a.png", LINEAGE)
    with Image.open(tmp_path / "a.png") as image:
        assert said_by_picture(image) == {}
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert stamp.tags(LINEAGE) == {} and stamp.pixels(picture) is picture


def test_what_keeps_nothing_is_refused(picture: np.ndarray, tmp_path: Path) -> None:
    with raises(FileError, ".png", path=tmp_path / "a.bmp"):
        Stamp().save(picture, tmp_path / "a.bmp", LINEAGE)
    with raises(FileError, "transparency"):
        Stamp().save(Image.fromarray(picture).convert("RGBA"), tmp_path / "a.jpg", LINEAGE)
    with pytest.raises(ValueError, match="letters"):
        xmp_packet(Lineage(notes={"two words": "x"}))
    assert not any(tmp_path.iterdir())


def test_tags_of_a_container_are_read_again() -> None:
    tags = {"encoder": "Lavf", **container_tags(Lineage("cd" * 32, {"Frames": "7"}))}
    said = said_by_tags(tags)
    assert says_synthetic(said) and said["Model"] == f"sha256:{'cd' * 32}" and said["Frames"] == "7"
    assert said["Software"].startswith("IDN")
    assert said_by_tags({"comment": "holiday; x=y"}) == {}


@pytest.mark.parametrize(
    "packet",
    [b"", b"<x", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", b"\xff\xfe", b"<a/>", "<a>ü".encode()],
)
def test_damaged_metadata_says_nothing(packet: bytes) -> None:
    image = Image.new("RGB", (4, 4))
    image.info["xmp"] = packet
    assert said_by_picture(image) == {}


def test_metadata_of_other_tools_is_understood() -> None:
    """As elements instead of attributes, with white space."""
    image = Image.new("RGB", (4, 4))
    image.info["xmp"] = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><e:DigitalSourceType>\n'
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</e:DigitalSourceType>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    assert says_synthetic(said_by_picture(image))


def test_a_manifest_is_signed_and_tells_changes(picture: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="C2PA manifests need the extra c2pa")
    certificate, key = write_certificate(tmp_path)
    path = tmp_path / "signed.png"
    Stamp(certificate=certificate, key=key).save(picture, path, LINEAGE)
    credentials = read_credentials(path)
    assert credentials is not None and credentials.synthetic
    assert credentials.state == "Valid" and credentials.signer == "Signer" and credentials.tool.startswith("IDN")
    with Image.open(path) as image:
        assert says_synthetic(said_by_picture(image))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 30] ^= 1
    path.write_bytes(content)
    assert read_credentials(path).state == "Invalid"
    Stamp().save(picture, path, LINEAGE)
    assert read_credentials(path) is None
    assert read_credentials(certificate) is None


def test_what_does_not_sign_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = write_certificate(tmp_path)
    with raises(OptionError, argument="certificate"):
        Stamp(certificate=certificate)
    with raises(OptionError, argument="key"):
        Stamp(key=key)
    with raises(OptionError, argument="certificate"):
        Stamp(enabled=False, certificate=certificate, key=key)
    with raises(MissingFile, path=tmp_path / "none.pem"):
        Stamp(certificate=tmp_path / "none.pem", key=key)
    with raises(FileError, path=certificate):
        Stamp(certificate=certificate, key=certificate)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with raises(MissingExtra, extra="c2pa"):
        Stamp(certificate=certificate, key=key)
