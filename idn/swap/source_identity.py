"""Identity embedding of a source: from a photograph, or from a file that kept what an encoder saw of one."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from idn.data.alignment.crop import Crop, UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector
from idn.encoders.description import same_mark
from idn.errors import DamagedFile, EncoderMismatch, FileError, ForeignFile, OptionError, UserError
from idn.files.tensors import read_metadata, read_tensors, write_tensors
from idn.images import from_uint8
from idn.swap.still import open_photo
from idn.types import EncoderDescription, IdentityEncoder, IdentityFeatures

CROP = 256
"""Side of the crop that an encoder is shown, in pixels: it makes its own, smaller one of it."""
LEAST_FACE = 48
"""Smaller faces, in pixels of the photograph, tell too little of a person."""
_FORMAT = "idn-identity-1"


def identity_of_photo(
    path: Path, encoder: IdentityEncoder, template: str, make_detector: Callable[[], Detector]
) -> IdentityFeatures:
    """The person on a photograph, as `encoder`, built for crops aligned to `template`, sees the largest face.

    make_detector: called once the photograph is known to be one. Returns embedding (1, D) and features (1, C, s, s).
    Raises UserError for an unreadable photograph, no face, several faces of similar size, and a face below LEAST_FACE
    pixels.
    """
    pixels = _read(path)
    return look(encoder, cut_person(pixels, make_detector(), template, CROP, str(path)).image)


def cut_person(pixels: torch.Tensor, detector: Detector, template: str, size: int, name: str) -> Crop:
    """The aligned crop of the person who is meant on a photograph: the largest face, clearly larger than any other.

    pixels: (3, H, W) uint8 RGB.
    template, size: of the crop.
    name: of the photograph, for errors.
    Raises UserError for no face, several faces of similar size, and a face below LEAST_FACE pixels.
    """
    faces = detector(pixels)
    if not faces:
        raise UserError(f"{name} shows no face: give a photograph with one, or aligned=true if it is a crop already")
    face = faces[0]
    if face.size < LEAST_FACE:
        raise UserError(f"the face on {name} has {face.size:.0f} px, {LEAST_FACE} are the least: give a larger one")
    if len(faces) > 1 and faces[1].size > face.size / 2:
        raise UserError(f"{name} shows {len(faces)} faces of similar size: cut out the person that is meant")
    try:
        return cut_crop(pixels, face.landmarks, template, size)
    except UnusableLandmarks as error:
        raise UserError(f"{name}: {error}, give another photograph") from error


def identity_of_crop(path: Path, encoder: IdentityEncoder) -> IdentityFeatures:
    """The same for a square crop in the framing that the encoder was built for. Raises UserError for other shapes."""
    pixels = _read(path)
    if pixels.shape[1] != pixels.shape[2]:
        height, width = pixels.shape[1:]
        raise FileError(path, f"is {width} x {height} px: an aligned crop is square, leave aligned=true out")
    return look(encoder, pixels)


def save_identity(path: Path, identity: IdentityFeatures, encoder: EncoderDescription) -> None:
    """Keep one identity as a safetensors file. encoder: the network that saw it."""
    tensors = {"embedding": identity.embedding, "features": identity.features}
    write_tensors(path, tensors, {"format": _FORMAT, "encoder": encoder.name, "mark": json.dumps(encoder.mark)})


def load_identity(path: Path, encoder: EncoderDescription) -> IdentityFeatures:
    """Read a file of `save_identity`.

    Raises UserError for any other file, and for one of another encoder or of other weights of the same.
    """
    notes = read_metadata(path)
    tensors = read_tensors(path)
    if notes.get("format") != _FORMAT or tensors.keys() != {"embedding", "features"}:
        raise ForeignFile(path, "holds no identity: give a photograph, or identity.safetensors of an earlier export")
    seen_by = notes.get("encoder", "")
    if seen_by != encoder.name:
        fault = f"was seen by {seen_by or 'nobody known'}, this student reads identities of {encoder.name}"
    elif not same_mark(encoder._replace(mark=_mark(notes)), encoder):
        fault = f"was seen by other weights of {encoder.name}: give the photograph again"
    else:
        return _sized(tensors, encoder, path)
    raise EncoderMismatch(f"{path} {fault}", wanted=encoder.name, given=seen_by)


def _sized(tensors: Mapping[str, torch.Tensor], encoder: EncoderDescription, path: Path) -> IdentityFeatures:
    """The identity that a file holds. Raises DamagedFile if it is not of the sizes that the encoder gives."""
    size = encoder.feature_size
    wanted = {"embedding": (1, encoder.embedding_dim), "features": (1, encoder.feature_channels, size, size)}
    if any(tensors[name].shape != shape for name, shape in wanted.items()):
        raise DamagedFile(path, f"is damaged: its tensors have other sizes than those of {encoder.name}")
    return IdentityFeatures(tensors["embedding"], tensors["features"])


def _mark(notes: Mapping[str, str]) -> tuple[float, ...]:
    """The mark of the encoder in a file's notes; empty where there is none that can be read."""
    try:
        return tuple(float(value) for value in json.loads(notes["mark"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _read(path: Path) -> torch.Tensor:
    if not path.is_file():
        raise OptionError("source", path, "is not a file: give a photograph, identity.safetensors or none")
    return open_photo(path)


@torch.no_grad()
def look(encoder: IdentityEncoder, crop: torch.Tensor) -> IdentityFeatures:
    """Who an encoder sees on one crop, (3, S, S) uint8 RGB, in the framing that it was built for."""
    seen = encoder(from_uint8(crop)[None])
    return IdentityFeatures(seen.embedding.clone(), seen.features.contiguous().clone())
