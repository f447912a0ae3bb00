"""Values that no data set, encoder or network can work with: one sentence with the option's name, whatever the verb."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from idn.encoders.trained import BUNDLED, TrainedMobileFaceNet
from idn.errors import OptionError
from idn.students.mobilefaceswap.published import LINEAGE
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.types import EncoderDescription
from tests.raising import raises

TRAIN = [
    "train",
    "data.size=32",
    "data.batch=2",
    "student.width=0.25",
    "trainer.max_steps=1",
    "trainer.accelerator=cpu",
]
IDENTITY = ["train-encoder", "encoder_data.size=32", "encoder_data.batch=4", "encoder_data.identities=4"]
IDENTITY += ["encoder_data.pairs=20", "encoder_data.workers=0", "trainer.max_steps=1", "trainer.accelerator=cpu"]
FACES = ["data=faces", "data.root=people", "data.stored_template=ffhq", "data.holdout=0.5"]
PHOTOS = [*TRAIN, *FACES, "encoder.photographs=true", "teacher=blend"]
PEOPLE = [word for word in IDENTITY if "identities" not in word]
PEOPLE += ["encoder_data=folder", "encoder_data.root=people", "encoder_data.stored_template=ffhq"]
PEOPLE += ["encoder_data.holdout=0.5"]


@pytest.fixture
def people(tmp_path: Path) -> None:
    """12 people with two photographs each."""
    for person in range(12):
        for number in range(2):
            path = tmp_path / f"people/p{person:02d}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32, 3), 20 * person + number, np.uint8)).save(path)


def refused(idn_cli, *words: str) -> str:
    """The one sentence with which a command ends."""
    status, out, err = idn_cli(*words)
    assert status == 2, out + err
    said = (out + err).strip()
    assert len(said.splitlines()) == 1, said
    return said


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("student.width=0", "student.width=0 must be a number from 0.25 to 2"),
        ("student.width=null", "student.width=null must be a number"),
        ("data.batch=2.5", "data.batch=2.5 is not a whole number: it is 16"),
        ("data.same_ratio=-1", "data.same_ratio=-1 must be a number from 0 to 1"),
        ("data.val_batches=0", "data.val_batches=0 must be a whole number, at least 1"),
        ("data.workers=-1", "data.workers=-1 must be a whole number, at least 0"),
        ("repeats=0", "repeats=0 must be a whole number, at least 1"),
        ("repeats=1.5", "repeats=1.5 is not a whole number"),
        ("repeats=null", "repeats=null must be a whole number, at least 1"),
        ("data.seed=1.5", "data.seed=1.5 is not a whole number"),
        (
            "data.template=mtcnn",
            "data.template=mtcnn does not fit procedural faces, which are aligned to ffhq: take",
        ),
        ("data.template=mtcnn", "photographs, which come in any (data=faces data.root=DIR with crops of `idn align`"),
        ("encoder.weights=0", "0 does not exist"),
        ("encoder.crop_template=word", "crop_template=word is no alignment template"),
    ],
)
def test_training(word: str, said: str, idn_cli) -> None:
    assert said in refused(idn_cli, *TRAIN, word)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.batch=0", "data.batch=0 must be a whole number, at least 1"),
        ("data.holdout=-1", "data.holdout=-1 must be a number from 0 to 1"),
        ("data.root=null", "data.root=null is not a folder: give a folder of face crops made by `idn align`"),
        ("data.augment.flip=null", "augment.flip=null must be a number from 0 to 1"),
        ("data.augment=0", "data.augment=0 stands for several options: give those"),
        ("data.regions.edge=0", "regions.edge=0 must be a number from 0.001 to 1"),
        ("data.template=word", "data.template=word is no alignment template: choose one of arcface_112_v1"),
    ],
)
def test_training_on_photographs(word: str, said: str, idn_cli) -> None:
    assert said in refused(idn_cli, *PHOTOS, word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("encoder_data.size=8", "encoder_data.size=8 must be a whole number, at least 16"),
        ("encoder_data.batch=3", "encoder_data.batch=3 must be a multiple of 2"),
        ("encoder_data.pairs=0", "encoder_data.pairs=0 must be a whole number, at least 2"),
        ("encoder_data.template=mtcnn", "encoder_data.template=mtcnn does not fit procedural faces, which are aligned"),
        (
            "encoder_data.template=mtcnn",
            "photographs, which come in any (encoder_data=folder encoder_data.root=DIR with crops of `idn align`",
        ),
        ("encoder_network.width=1000000", "encoder_network.width=1000000 must be a number from 0.125 to 4"),
        (
            "encoder_network.embedding_dim=8",
            "encoder_network.embedding_dim=8 is less than the 45 numbers that the data know of every person: give 45",
        ),
        ("encoder_network.input_size=57", "encoder_network.input_size=57 must be a multiple of 16 from 80 on"),
        ("encoder_network.template=word", "template=word is no alignment template"),
        ("encoder_training.margin=2", "encoder_training.margin=2 must be a number from 0 to 1.57"),
        ("encoder_training.margin_steps=null", "encoder_training.margin_steps=null must be a whole number, at least 0"),
        ("encoder_training.scale=0", "encoder_training.scale=0 must be a number, at least 1"),
        ("encoder_training.folds=1", "encoder_training.folds=1 must be a whole number, at least 2"),
    ],
)
def test_training_of_an_identity_encoder(word: str, said: str, idn_cli) -> None:
    assert said in refused(idn_cli, *IDENTITY, word)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("encoder_data.batch=null", "encoder_data.batch=null must be a whole number, at least 2"),
        ("encoder_data.root=nowhere", "encoder_data.root=nowhere is not a folder"),
        ("encoder_data.stored_template=word", "encoder_data.stored_template=word is unknown"),
        ("encoder_data.holdout=0", "encoder_data.holdout=0 leaves nobody to validate with: give a share"),
    ],
)
def test_training_of_an_identity_encoder_on_photographs(word: str, said: str, idn_cli) -> None:
    assert said in refused(idn_cli, *PEOPLE, word)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    "words", [TRAIN, ["cache", "out=kept", "pairs=2"], ["train-teacher"], ["train-scorer"], ["teachers"]]
)
def test_photographs_want_an_encoder_of_real_people(words: list[str], idn_cli) -> None:
    more = {"train-scorer": ["graded=degradations", "teacher=blend"], "teachers": ["check=blend"], "train-teacher": []}
    said = refused(
        idn_cli, *words, *FACES, "data.size=32", "data.template=ffhq", *more.get(words[0], ["teacher=blend"])
    )
    assert said.startswith("idn: encoder=procedural knows drawn faces only: add encoder=mobilefacenet encoder.wei")
    assert said.endswith("encoder.photographs=true takes it all the same")


@pytest.mark.usefixtures("people")
def test_an_export_with_photographs_wants_it_said_of_the_encoder(idn_cli, tmp_path: Path) -> None:
    encoder = TrainedMobileFaceNet(None, "ffhq")
    sizes = encoder.embedding_dim, encoder.feature_channels, encoder.feature_size
    notes = LINEAGE | {"encoder": encoder.name, "template": "ffhq", "size": "32"}
    save_student(Student(EncoderDescription(*sizes), 0.25), tmp_path / "student.safetensors", notes)
    said = refused(idn_cli, "export", "weights=student.safetensors", "source=none", "out=product", *FACES)
    assert said.startswith("idn: encoder=procedural knows drawn faces only: add encoder=mobilefacenet encoder.weights=")
    assert said.endswith("encoder.photographs=true takes it all the same")


def test_only_the_bundled_encoder_is_kept_from_photographs() -> None:
    assert TrainedMobileFaceNet(None, "ffhq").drawn_only
    assert not TrainedMobileFaceNet(None, "ffhq", photographs=True).drawn_only
    assert not TrainedMobileFaceNet(BUNDLED, "ffhq").drawn_only


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("words", [PHOTOS, PEOPLE])
def test_crops_of_unknown_framing_are_refused(words: list[str], idn_cli) -> None:
    group = "encoder_data" if words is PEOPLE else "data"
    said = refused(idn_cli, *(word for word in words if "stored_template" not in word))
    assert (
        f"{group}.stored_template=null must say how the faces of people, which was not made by idn align, are" in said
    )
    assert (
        ": give one of arcface_112_v1, arcface_112_v2, arcface_128, ffhq, mobilefsgan, mtcnn, or run idn align on it"
        in said
    )


@pytest.mark.usefixtures("people")
def test_pictures_that_are_not_square_want_alignment(idn_cli, tmp_path: Path) -> None:
    for path in (tmp_path / "people").rglob("*.png"):
        Image.new("RGB", (40, 30)).save(path)
    said = refused(idn_cli, *PHOTOS)
    assert said == (
        "idn: data.root=people holds pictures that are not square, such as p00/0.png with 40x30 pixels: run idn align "
        "on it and give the crops instead"
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("encoder.feature_size=null", "encoder.feature_size=null must be a whole number, at least 1"),
        ("encoder.feature_size=0", "encoder.feature_size=0 must be a whole number, at least 1"),
        ("encoder.input_size=word", "encoder.input_size=word must be a whole number, at least 16"),
        ("encoder.input_size=0", "encoder.input_size=0 must be a whole number, at least 16"),
        ("encoder.mean=0", "encoder.mean=0 must be a number for each colour, such as [0.5,0.5,0.5], or null"),
        ("encoder.mean=[0.5]", "encoder.mean=[0.5] must be a number for each colour"),
        ("encoder.mean=[a,b,c]", "encoder.mean[0]=a must be a number"),
        ("encoder.std=word", "encoder.std=word must be a number for each colour"),
        ("encoder.std=[1,0,1]", "encoder.std[1]=0 must be a number, at least 0.001"),
        ("encoder.stages=0", "encoder.stages=0 must be a list of feature levels, such as [0,1,2]"),
        ("encoder.stages=null", "encoder.stages=null must be a list"),
        ("encoder.stages=word", "encoder.stages=word must be a list"),
        ("encoder.stages=[a]", "encoder.stages[0]=a must be a whole number, at least 0"),
        ("encoder.stages=[99]", "with stages=[99]"),
        (
            "encoder.options=word",
            "encoder.options=word must be arguments of a timm model, such as {num_classes: 512}",
        ),
        ("encoder.options={img_size: [64]}", "encoder.options.img_size=[64] must be a whole number, at least 16"),
    ],
)
def test_an_encoder_of_timm(word: str, said: str, idn_cli, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "net.pth")
    model = ["encoder=timm", "encoder.model=test_resnet", "encoder.weights=net.pth"]
    assert said in refused(idn_cli, *TRAIN, *model, word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("picture_format=gif", "picture_format=gif is unknown: choose one of jpg, png, webp"),
        ("picture_quality=101", "picture_quality=101 must be a whole number from 1 to 100"),
        ("workers=-1", "workers=-1 must be a whole number, at least 0"),
        ("workers=1.5", "workers=1.5 is not a whole number"),
        ("device=tpu3", "device=tpu3 is not available here: choose auto, cpu"),
        ("detector.longest=320", "nowhere.pth"),
        ("detector.threshold=2", "detector.threshold=2 must be a number from 0.001 to 0.999"),
        ("src=nowhere", "src=nowhere is not a folder: give the folder"),
    ],
)
def test_alignment(word: str, said: str, idn_cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos/a.png")
    assert said in refused(idn_cli, "align", "src=photos", "dst=crops", "detector.weights=nowhere.pth", word)
    assert not (tmp_path / "crops").exists()


@pytest.mark.parametrize(("width", "size"), [(0, 7), (0.25, 3)])
def test_a_student_that_no_encoder_and_no_width_make(width: float, size: int) -> None:
    with raises(OptionError, argument=("width" if width == 0 else "feature_size")):
        Student(EncoderDescription(16, 16, size), width)


def test_the_framing_of_an_imported_student_asks_for_photographs(idn_cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    save_student(Student(EncoderDescription(512, 512), 0.25), tmp_path / "student.safetensors", LINEAGE)
    said = refused(idn_cli, "export", "weights=student.safetensors", "source=none", "out=product")
    assert "the student of weights=student.safetensors knows faces aligned to arcface_112_v2" in said
    assert "data=procedural draws none: give data=faces data.root=DIR with crops of `idn align`" in said
