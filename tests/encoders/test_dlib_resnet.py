"""dlib's recogniser and landmarks: the box around five points, files found without their package, faces told apart."""

from pathlib import Path

import pytest
import torch

from idn.data.procedural import FaceRenderer
from idn.errors import OptionError, UserError
from idn.files.dlib_models import LANDMARKS, dlib_file
from idn.geometry.templates import template_points

pytest.importorskip("dlib", reason="needs dlib: the extra eval")

from idn.encoders.dlib_resnet import DlibEncoder, DlibLandmarks, face_boxes


@pytest.fixture(scope="module")
def encoder() -> DlibEncoder:
    try:
        return DlibEncoder("ffhq")
    except UserError as error:
        pytest.skip(str(error))


def faces(people: int, seed: int, size: int = 128) -> torch.Tensor:
    renderer, draw = FaceRenderer(glasses=0, occluders=0), torch.Generator().manual_seed(0)
    who = renderer.sample_identity(people, draw)
    return renderer.render(who, renderer.sample_attributes(people, draw.manual_seed(seed)), size).image


def test_an_embedding_has_unit_length_and_is_the_same_again(encoder: DlibEncoder) -> None:
    images = faces(2, 1)
    one, other = encoder(images), encoder(images)
    assert one.embedding.shape == (2, 128) and one.features.shape == (2, 128, 1, 1)
    assert torch.allclose(one.embedding.norm(dim=1), torch.ones(2)) and torch.equal(one.embedding, other.embedding)
    assert (one.length > 0.5).all()


def test_landmarks_lie_on_the_face_that_the_five_points_tell(encoder: DlibEncoder) -> None:
    found = encoder.landmarks(faces(2, 1), template_points("ffhq").expand(2, 5, 2))
    assert found.shape == (2, 68, 2) and float(found.min()) > 0 and float(found.max()) < 1
    eyes = torch.stack([found[:, 36:42].mean(1), found[:, 42:48].mean(1)], 1)
    assert (eyes - template_points("ffhq")[:2].float()).abs().max() < 0.12


def test_a_box_follows_the_points() -> None:
    points = template_points("ffhq")[None] * 200
    here, moved = face_boxes(points)[0], face_boxes(points + 30)[0]
    assert here.width() == here.height() == moved.width() and moved.left() - here.left() == 30
    assert face_boxes(points * 2)[0].width() == pytest.approx(2 * here.width(), abs=2)


def test_a_file_that_is_not_there_or_no_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        dlib_file(LANDMARKS, tmp_path / "gone.dat")
    (tmp_path / "text.dat").write_text("no model")
    with pytest.raises(UserError):
        DlibLandmarks(tmp_path / "text.dat")


def test_an_unknown_template_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(OptionError) as error:
        DlibEncoder("square")
    assert error.value.argument == "crop_template"
