"""idn.load: a student with its encoder, its template and its size, on crops and on photographs of any kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import idn
from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.errors import EncoderMismatch, FileError, OptionError, UserError
from idn.images import from_uint8
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.swap.swapper import Swapper
from tests.conftest import TinyEncoder
from tests.raising import raises
from tests.swap.test_source_identity import Found, face


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the bundled encoder."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    student = Student(describe_encoder(TrainedMobileFaceNet(None, "ffhq")), width=0.25)
    save_student(student, path, {"template": "ffhq", "size": "64"})
    return path


@pytest.fixture
def crop() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


@pytest.fixture
def of_photos() -> Swapper:
    """A swapper that always finds the same face."""
    torch.manual_seed(0)
    student = Student(describe_encoder(TinyEncoder()), width=0.25)
    return Swapper(student, TinyEncoder(), "ffhq", 64, Found(face(60, 40, 100)))


def test_it_swaps_crops_of_every_kind_alike(file: Path, crop: np.ndarray, tmp_path: Path) -> None:
    swapper = idn.load(file)
    assert (swapper.template, swapper.size) == ("ffhq", 64) and not swapper.student.training
    image = Image.fromarray(crop)
    image.save(tmp_path / "crop.png")
    tensor = from_uint8(torch.from_numpy(crop)).permute(2, 0, 1)
    expected = np.asarray(swapper.swap(crop, crop, aligned=True))
    assert expected.shape == crop.shape and expected.dtype == np.uint8
    for kind in (image, tmp_path / "crop.png", str(tmp_path / "crop.png")):
        assert np.array_equal(np.asarray(swapper.swap(kind, kind, aligned=True)), expected)
    found = swapper.swap(tensor, tensor[None], aligned=True)
    assert found.shape == (1, 3, 64, 64) and not found.requires_grad
    assert np.array_equal(np.asarray(swapper.swap(swapper.identity(crop, aligned=True), crop, aligned=True)), expected)


def test_a_crop_of_another_size_is_brought_to_that_of_the_student(file: Path, crop: np.ndarray) -> None:
    assert idn.load(file).swap(crop, Image.fromarray(crop).resize((100, 100)), aligned=True).size == (64, 64)


def test_it_bakes_one_identity(file: Path, crop: np.ndarray) -> None:
    swapper = idn.load(file)
    target = from_uint8(torch.from_numpy(crop)).permute(2, 0, 1)[None]
    image, mask = swapper.bake(crop, aligned=True)(target)
    assert mask.shape == (1, 1, 64, 64)
    torch.testing.assert_close(image, swapper.swap(crop, target, aligned=True), rtol=1e-3, atol=1e-3)


def test_a_photograph_is_swapped_in_its_place(of_photos: Swapper) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (200, 220, 3), np.uint8)
    swapped = np.asarray(of_photos.swap(photo, photo))
    changed = (swapped != photo).any(2)
    rows, columns = changed.nonzero()
    assert changed.any() and rows.min() >= 38 and rows.max() <= 141 and columns.min() >= 58 and columns.max() <= 161


def test_another_encoder_is_refused(file: Path) -> None:
    with raises(EncoderMismatch, given="tiny"):
        idn.load(file, encoder=TinyEncoder())
    with raises(UserError, "arcface_112_v2", str(file)):
        idn.load(file, encoder=TrainedMobileFaceNet(None, "arcface_112_v2"))


def test_a_student_of_another_encoder_wants_it(tmp_path: Path) -> None:
    path, encoder = tmp_path / "student.safetensors", TinyEncoder()
    save_student(Student(describe_encoder(encoder), width=0.25), path, {"template": "ffhq", "size": "64"})
    with raises(EncoderMismatch, "crops of ffhq", wanted="tiny"):
        idn.load(path)
    assert idn.load(path, encoder=encoder).size == 64
    with raises(EncoderMismatch, wanted="tiny", given="tiny"):
        idn.load(path, encoder=TinyEncoder())


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("nowhere.png", "nowhere.png"),
        (np.zeros((8, 8)), "(8, 8)"),
        (torch.zeros(2, 3, 8, 8), "(2, 3, 8, 8)"),
        (torch.zeros(8, 8), "(8, 8)"),
    ],
)
def test_what_is_no_picture_gets_one_sentence(file: Path, crop: np.ndarray, target: object, named: str) -> None:
    with raises(UserError, named):
        idn.load(file).swap(crop, target, aligned=True)


def test_an_animation_is_refused_from_python_too(file: Path, crop: np.ndarray, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), (80 * k, 0, 0)) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    for source, target in ((crop, tmp_path / "a.gif"), (str(tmp_path / "a.gif"), crop)):
        with raises(FileError, "animation of 3", path=tmp_path / "a.gif"):
            idn.load(file).swap(source, target, aligned=True)


def test_photographs_want_an_encoder_and_a_detector(file: Path, crop: np.ndarray, of_photos: Swapper) -> None:
    with raises(UserError, "aligned=True"):
        idn.load(file).swap(crop, crop)
    with raises(UserError, "drawn faces only"):
        idn.load(file, detector="absent.pth").swap(crop, crop)
    of_photos.detector = None
    with raises(UserError, "detector="):
        of_photos.swap(crop, crop)
    with raises(UserError, "aligned=True"):
        of_photos.swap(crop, crop[:40], aligned=True)
    with raises(OptionError, argument="size"):
        Swapper(of_photos.student, of_photos.encoder, "ffhq", 50)
