"""Sources of a swap: photographs of people, several of one person averaged, or kept identities."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idn.data.alignment.detector import Detector
from idn.errors import FileError, OptionError, UserError
from idn.images import from_uint8
from idn.swap.models.model import Model, average
from idn.swap.photo import Source
from idn.swap.source_identity import CROP, cut_person
from idn.swap.still import open_photo
from idn.types import IdentityFeatures


def listed_people(source: object) -> list[list[Path]]:
    """People from the value of an option: a photograph, several of one person, or a mapping from names to such.

    Returns the photographs by person. Raises OptionError for anything else.
    """
    if isinstance(source, Mapping):
        people = [person for value in source.values() for person in listed_people(value)]
        if not people:
            raise OptionError("source", source, "names nobody: give a photograph")
        return people
    photos = [source] if isinstance(source, str | Path) else source
    if not isinstance(photos, Sequence) or not photos or not all(isinstance(path, str | Path) for path in photos):
        raise OptionError(
            "source", source, "must be a photograph, a list of one person's, or {name:photograph,...} of several people"
        )
    return [[Path(path) for path in photos]]


def read_sources(
    model: Model, people: Sequence[Sequence[Path]], aligned: bool, make_detector: Callable[[], Detector]
) -> list[Source]:
    """Every person, taken in by the model.

    people: their photographs, or files of `idn export keep_identity=true`; none for a model that is one person.
    aligned: whether the pictures are crops in the framing of the model.
    make_detector: called before the first photograph that is no crop.
    Raises UserError for a photograph without a face that can be meant, and for photographs of a model that knows drawn
    faces only.
    """
    if model.fixed:
        if people:
            raise UserError(f"{model.name} holds one person already: leave source out")
        return [Source(model.person(None, None), None)]
    if not people:
        raise UserError(f"{model.name} puts one person into another: give source=PHOTO")
    detectors: list[Detector] = []

    def detector() -> Detector:
        if not detectors:
            detectors.append(make_detector())
        return detectors[0]

    return [_source(model, photos, aligned, detector) for photos in people]


def _source(model: Model, photos: Sequence[Path], aligned: bool, detector: Callable[[], Detector]) -> Source:
    seen: list[IdentityFeatures] = []
    first = None
    for path in photos:
        if path.suffix == ".safetensors":
            seen.append(model.kept(path))
            continue
        crop = source_crop(model, path, aligned, detector)
        seen.append(model.look(crop[None]))
        first = crop if first is None else first
    who = average(seen)
    return Source(model.person(who, first), who)


def source_crop(model: Model, path: Path, aligned: bool, detector: Callable[[], Detector]) -> Tensor:
    """(3, CROP, CROP) in [0, 1]: the person on a photograph in the framing of the model; an aligned crop in its size.

    Raises UserError for a photograph that cannot be used.
    """
    if not path.is_file():
        raise OptionError("source", path, "is not a file: give a photograph with one face")
    pixels = open_photo(path)
    if aligned:
        return from_uint8(aligned_crop(path, pixels))
    if model.drawn_only:
        raise UserError(
            f"source={path} is a photograph, and {model.name} reads an encoder that knows drawn faces only: give crops "
            "with aligned=true, drawn=true if its face is a drawn one, or a student of photographs"
        )
    return from_uint8(cut_person(pixels, detector(), model.template, CROP, str(path)).image)


def aligned_crop(path: Path, pixels: Tensor) -> Tensor:
    """The pixels, (3, S, S). Raises FileError for a picture that is no square."""
    height, width = pixels.shape[1:]
    if height != width:
        raise FileError(path, f"is {width} x {height} px: an aligned crop is square, leave aligned=true out")
    return pixels


def read_references(model: Model, photos: Sequence[Path], make_detector: Callable[[], Detector]) -> Tensor:
    """(P, D): the people to be replaced, one photograph each.

    Raises UserError for a model that cannot tell who is who, and for a photograph without a face that can be meant.
    """
    detector, seen = make_detector(), []
    for path in photos:
        looked = model.look(source_crop(model, path, False, lambda: detector)[None])
        if looked is None or looked.embedding is None:
            raise UserError(f"{model.name} has no encoder that tells who is who: choose faces by place, leave like out")
        seen.append(looked.embedding.cpu())
    return torch.cat(seen)
