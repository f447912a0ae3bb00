"""Whose face: photographs, crops and kept identities."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data.alignment.detector import Face, YuNetDetector
from idn.encoders.description import describe_encoder
from idn.errors import DamagedFile, EncoderMismatch, FileError, ForeignFile, MissingFile, OptionError, UserError
from idn.files import photos
from idn.files.photos import read_photo
from idn.files.tensors import read_metadata, read_tensors, write_tensors
from idn.geometry.templates import template_points
from idn.swap.source_identity import cut_person, identity_of_crop, identity_of_photo, load_identity, save_identity
from tests.conftest import TinyEncoder
from tests.raising import raises


class Found:
    """A detector that always finds the same faces."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def __call__(self, photo: torch.Tensor) -> list[Face]:
        return self.faces


def face(left: float, top: float, side: float) -> Face:
    """One whose landmarks lie as in an ffhq crop of that place and size."""
    box = torch.tensor([left, top, left + side, top + side], dtype=torch.float64)
    return Face(box, template_points("ffhq") * side + box[:2], 0.9)


def picture(path: Path, size: tuple[int, int] = (100, 100)) -> Path:
    Image.effect_noise(size, 60).convert("RGB").resize(size).save(path)
    return path


def test_a_photograph_is_cropped_as_the_encoder_expects(tmp_path: Path) -> None:
    photo = np.full((200, 200, 3), 255, np.uint8)
    photo[40:140, 60:160] = np.linspace(0, 200, 100, dtype=np.uint8)[None, :, None]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(photo[40:140, 60:160]).resize((256, 256), Image.Resampling.BILINEAR).save(tmp_path / "crop.png")
    encoder = TinyEncoder()
    of_photo = identity_of_photo(tmp_path / "photo.png", encoder, "ffhq", partial(Found, face(60, 40, 100)))
    of_crop = identity_of_crop(tmp_path / "crop.png", encoder)
    assert torch.cosine_similarity(of_photo.embedding, of_crop.embedding).item() > 0.999
    assert not of_photo.embedding.requires_grad and of_photo.features.shape == (1, 16, 7, 7)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    encoder = TinyEncoder()
    who, known = encoder(torch.rand(1, 3, 32, 32)), describe_encoder(encoder)
    save_identity(tmp_path / "who.safetensors", who, known)
    again = load_identity(tmp_path / "who.safetensors", known)
    assert torch.equal(again.embedding, who.embedding) and torch.equal(again.features, who.features)
    with raises(EncoderMismatch, wanted="another", given="tiny"):
        load_identity(tmp_path / "who.safetensors", known._replace(name="another"))
    with raises(EncoderMismatch, wanted="tiny", given="tiny"):
        load_identity(tmp_path / "who.safetensors", describe_encoder(TinyEncoder()))
    for mark in ("no json", "3", '["a"]'):
        notes = read_metadata(tmp_path / "who.safetensors") | {"mark": mark}
        write_tensors(tmp_path / "odd.safetensors", read_tensors(tmp_path / "who.safetensors"), notes)
        with raises(EncoderMismatch, wanted="tiny", given="tiny"):
            load_identity(tmp_path / "odd.safetensors", known)
    tensors, notes = read_tensors(tmp_path / "who.safetensors"), read_metadata(tmp_path / "who.safetensors")
    for name in tensors:
        write_tensors(tmp_path / "odd.safetensors", tensors | {name: tensors[name][..., :-1].contiguous()}, notes)
        with pytest.raises(UserError, match="have other sizes"):
            load_identity(tmp_path / "odd.safetensors", known)


def test_no_face_two_faces_tiny_face(tmp_path: Path) -> None:
    photo, encoder = picture(tmp_path / "photo.png", (400, 200)), TinyEncoder()
    with raises(UserError, "photo.png"):
        identity_of_photo(photo, encoder, "ffhq", Found)
    with raises(UserError, "photo.png", "2 faces"):
        identity_of_photo(photo, encoder, "ffhq", partial(Found, face(0, 0, 150), face(200, 0, 140)))
    with raises(UserError, "photo.png", "30 px"):
        identity_of_photo(photo, encoder, "ffhq", partial(Found, face(0, 0, 30)))
    identity_of_photo(photo, encoder, "ffhq", partial(Found, face(0, 0, 150), face(200, 0, 50)))
    confused = face(0, 0, 150)._replace(landmarks=torch.full((5, 2), 70.0, dtype=torch.float64))
    with raises(UserError, "photo.png", "landmarks"):
        identity_of_photo(photo, encoder, "ffhq", partial(Found, confused))


def test_files_that_are_no_faces(tmp_path: Path) -> None:
    encoder = TinyEncoder()
    with raises(OptionError, argument="source", value=tmp_path / "missing.png"):
        identity_of_crop(tmp_path / "missing.png", encoder)
    with raises(OptionError, argument="source", value=tmp_path / "missing.png"):
        identity_of_photo(tmp_path / "missing.png", encoder, "ffhq", lambda: pytest.fail("a detector was made"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but not really")
    with raises(DamagedFile, path=tmp_path / "broken.png"):
        identity_of_crop(tmp_path / "broken.png", encoder)
    with raises(FileError, "64 x 32", path=tmp_path / "wide.png"):
        identity_of_crop(picture(tmp_path / "wide.png", (64, 32)), encoder)
    with raises(MissingFile, path=tmp_path / "missing.safetensors"):
        load_identity(tmp_path / "missing.safetensors", describe_encoder(encoder))
    save_identity(tmp_path / "who.safetensors", encoder(torch.rand(1, 3, 32, 32)), describe_encoder(encoder))
    write_tensors(tmp_path / "other.safetensors", read_tensors(tmp_path / "who.safetensors"), {})
    with raises(ForeignFile, path=tmp_path / "other.safetensors"):
        load_identity(tmp_path / "other.safetensors", describe_encoder(encoder))


SHARED = Path(__file__).parents[2] / "../shared"


@pytest.mark.skipif(
    not (SHARED / "weights/yunet_final.pth").is_file() or not (SHARED / "cases/upside_down.jpg").is_file(),
    reason="the shared portraits and detector weights are not here",
)
def test_a_person_upside_down_is_seen_upright(tmp_path: Path) -> None:
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    with Image.open(SHARED / "cases/upside_down.jpg") as image:
        image.rotate(180).save(tmp_path / "upright.png")
        image.rotate(90, expand=True).save(tmp_path / "sideways.png")
    paths = SHARED / "cases/upside_down.jpg", tmp_path / "sideways.png", tmp_path / "upright.png"
    crops = [cut_person(read_photo(path), detector, "ffhq", 128, path.name).image.float() for path in paths]
    assert all((crop - crops[-1]).abs().mean() < 4 for crop in crops)


def test_a_photograph_of_too_many_pixels_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos.decode_photo, "__defaults__", (100,))
    monkeypatch.setattr(photos.read_photo, "__defaults__", (100, None))
    with raises(FileError, "64 x 32", "max_pixels=100", path=tmp_path / "wide.png"):
        identity_of_crop(picture(tmp_path / "wide.png", (64, 32)), TinyEncoder())
