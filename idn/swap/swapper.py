"""Swapper: a student with everything it needs to swap faces in Python; what `idn.load` returns."""

import copy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from idn.data.alignment.crop import Crop
from idn.data.alignment.detector import Detector, YuNetDetector
from idn.data.alignment.every_face import EveryFace
from idn.encoders.trained import TrainedMobileFaceNet
from idn.errors import EncoderMismatch, ForeignFile, UserError
from idn.files.photos import UnreadablePhoto, as_pixels
from idn.images import from_uint8, resize, to_uint8
from idn.students.protocol import SwapStudent
from idn.students.student_file import StudentFile, load_student, read_student_file
from idn.swap.choose import make_choice
from idn.swap.models.student import SIZE, StudentModel, check_framing
from idn.swap.photo import Source, Swapping, swap_photo
from idn.swap.source_identity import CROP, cut_person, look
from idn.swap.still import open_photo
from idn.swap.turned_faces import MOST_YAW, said_of_turned
from idn.types import IdentityEncoder, IdentityFeatures

Picture = str | Path | Image.Image | np.ndarray | Tensor
"""A file, a PIL image, an array (H, W, 3) of uint8 RGB, or a tensor (3, H, W) or (1, 3, H, W) in [0, 1]."""


def load_swapper(
    file: str | Path, encoder: IdentityEncoder | None, detector: str | Path | None, device: str
) -> "Swapper":
    """See `idn.load`."""
    known = read_student_file(file)
    if known.template is None:
        raise ForeignFile(file, "does not say how its crops are aligned: write it again with a `template` in its notes")
    seer = _bundled_encoder(known) if encoder is None else encoder
    check_framing(known, seer)
    unused = detector is None or getattr(seer, "drawn_only", False)  # photographs are refused for drawn faces
    finder = None if unused else YuNetDetector(str(detector))
    size = SIZE if known.size is None else known.size
    return Swapper(load_student(file), seer, known.template, size, finder, device)


def _bundled_encoder(known: StudentFile) -> IdentityEncoder:
    """The encoder that comes with the package. Raises UserError for a student of another one."""
    encoder = TrainedMobileFaceNet(None, known.template)
    if known.encoder.name != encoder.name:
        raise EncoderMismatch(
            f"{known.path} reads identities of {known.encoder.name or 'an encoder that it does not name'}: give it, "
            f"built for crops of {known.template}, as encoder=...",
            known.encoder.name or "",
            encoder.name,
        )
    return encoder


class Swapper:
    """Swaps faces with one student.

    student: put into eval mode and frozen.
    encoder: the identity encoder that the student was trained with, built for its template.
    template, size: alignment template and side in pixels of the student's crops.
    detector: finds faces on photographs; None for a swapper of crops only.
    device: where everything is computed.
    Raises OptionError for a size that the student cannot work on.
    """

    def __init__(
        self,
        student: SwapStudent,
        encoder: IdentityEncoder,
        template: str,
        size: int,
        detector: Detector | None = None,
        device: str = "cpu",
    ) -> None:
        resting = copy.deepcopy(student).requires_grad_(False).eval().cpu()
        self._model = StudentModel("student", resting, encoder, template, size, {}, torch.device(device))
        self.student = student.requires_grad_(False).eval().to(device)
        self.encoder = self._model.encoder
        self.template, self.size, self.detector, self.device = template, size, detector, device

    def identity(self, source: Picture, aligned: bool = False) -> IdentityFeatures:
        """Who is on a picture: what `swap` and `bake` take instead of it, for many targets.

        source: a photograph, whose largest face is meant, or a crop.
        aligned: whether it is a square crop in the framing of the student (`template`).
        Raises UserError for pictures without a face that can be meant.
        """
        return look(self.encoder, self._crop(source, aligned, CROP, "the source").image.to(self.device))

    @torch.inference_mode()
    def swap(
        self,
        source: Picture | IdentityFeatures,
        target: Picture,
        aligned: bool = False,
        faces: str | int | list[int] = "largest",
        most_yaw: float | None = MOST_YAW,
    ) -> Image.Image | Tensor:
        """Put the person of the source into the target.

        source: a picture, or what `identity` returned.
        target: a picture; faces of a photograph are swapped, and pasted back into it as `idn swap` does.
        aligned: whether the pictures are square crops in the framing of the student, such as `idn align` makes;
            then the result has `size` pixels.
        faces: which ones of a photograph: "largest", "all", or numbers from the left, from 0 on.
        most_yaw: degrees; faces that are turned further to a side stay as they are. None for no bound.
        Returns an image, or a tensor (1, 3, H, W) in [0, 1] for a target that is a tensor. Raises UserError for
        pictures without a face that can be meant.
        """
        who = source if isinstance(source, IdentityFeatures) else self.identity(source, aligned)
        if aligned:
            crop = self._crop(target, aligned, self.size, "the target")
            given = resize(from_uint8(crop.image)[None].to(self.device), self.size)
            picture = self.student(given, who).image.float()
            return picture if isinstance(target, Tensor) else _image(to_uint8(picture)[0])
        pixels = self._swapped(who, target, faces, most_yaw)
        return from_uint8(pixels)[None].to(self.device) if isinstance(target, Tensor) else _image(pixels)

    def _swapped(
        self, who: IdentityFeatures, target: Picture, faces: str | int | list[int], most_yaw: float | None
    ) -> Tensor:
        """(3, H, W) uint8: a photograph with another face."""
        name = str(target) if isinstance(target, str | Path) else "the target"
        pixels = _pixels(target, name)
        finder = self._finder()
        every = EveryFace(finder) if isinstance(finder, YuNetDetector) else finder
        person = Source(self._model.person(who, None), who)
        swapping = Swapping(self._model, [person], make_choice(faces, 1), most_yaw=most_yaw)
        done = swap_photo(pixels, every, swapping)
        if done.aside and not done.swapped:
            raise UserError(f"{name} {said_of_turned(done.aside, most_yaw)}: give another photograph, or most_yaw=None")
        if not done.swapped:
            found = "no face" if not done.faces else f"no face of faces={faces}, only {done.faces} in all"
            raise UserError(f"{name} shows {found}: give another photograph, or aligned=True if it is a crop already")
        return done.pixels

    def bake(self, source: Picture | IdentityFeatures, aligned: bool = False) -> nn.Module:
        """A plain network of one identity, which needs neither encoder nor injection network.

        Returns a module on the CPU: targets (N, 3, S, S) in [0, 1] to image (N, 3, S, S) and, if the student has one,
        mask (N, 1, S, S). Arguments as for `identity`.
        """
        who = source if isinstance(source, IdentityFeatures) else self.identity(source, aligned)
        known = IdentityFeatures(who.embedding.cpu(), who.features.cpu())
        return copy.deepcopy(self.student).cpu().deployment().plain(known)

    def _crop(self, picture: Picture, aligned: bool, size: int, name: str) -> Crop:
        """The crop that a picture is, or one of `size` px that is cut out of a photograph."""
        name = str(picture) if isinstance(picture, str | Path) else name
        pixels = _pixels(picture, name)
        if aligned:
            height, width = pixels.shape[-2:]
            if height != width:
                raise UserError(f"{name} is {width} x {height} px: an aligned crop is square, leave aligned=True out")
            return Crop(pixels, torch.empty(0), 1.0, torch.eye(2, 3))
        return cut_person(pixels, self._finder(), self.template, size, name)

    def _finder(self) -> Detector:
        """What finds faces on photographs. Raises UserError if there is none, or if photographs are not for us."""
        if self._model.drawn_only:
            raise UserError(
                "this student and its encoder know drawn faces only, and those as crops: give aligned=True, or train "
                "with an encoder of real people for photographs"
            )
        if self.detector is None:
            raise UserError(
                'a photograph needs a face detector: idn.load(..., detector="yunet_final.pth"), or aligned=True if the '
                "pictures are crops already"
            )
        return self.detector


def _image(pixels: Tensor) -> Image.Image:
    """(3, H, W) uint8 -> an image."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _pixels(picture: Picture, name: str) -> Tensor:
    """(3, H, W) uint8 RGB on the CPU. Raises UserError for what is no picture."""
    if isinstance(picture, str | Path):
        return open_photo(Path(picture))
    if isinstance(picture, Image.Image):
        try:
            return as_pixels(picture)
        except UnreadablePhoto as error:
            raise UserError(f"{name} cannot be read as a photograph ({error}): give another one") from error
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(f"{name} is an array {picture.shape} of {picture.dtype}: give (H, W, 3) of uint8, RGB")
        return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).contiguous()
    shape = tuple(picture.shape)
    if not picture.is_floating_point() or shape[-3:-2] != (3,) or shape[:-3] not in ((), (1,)):
        raise UserError(f"{name} is a tensor {shape} of {picture.dtype}: give (3, H, W) or (1, 3, H, W) in [0, 1], RGB")
    return to_uint8(picture.detach().float().cpu().reshape(3, *shape[-2:]))
