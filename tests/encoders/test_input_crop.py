import pytest
import torch

from idn.encoders.input_crop import check_template, face_crop
from idn.errors import OptionError
from idn.geometry.affine import transform_points
from idn.geometry.templates import between_templates
from tests.raising import raises


def _blob(size, centre, radius):
    """A white Gaussian dot at a normalised position."""
    axis = (torch.arange(size) + 0.5) / size
    squared = (axis[None, :] - centre[0]) ** 2 + (axis[:, None] - centre[1]) ** 2
    return torch.exp(-squared / (2 * radius**2)).expand(1, 3, size, size)


def _centroid(image):
    weight = image[0, 0] / image[0, 0].sum()
    axis = (torch.arange(image.shape[-1]) + 0.5) / image.shape[-1]
    return torch.stack([(weight.sum(0) * axis).sum(), (weight.sum(1) * axis).sum()])


@pytest.mark.parametrize("size", [64, 160, 512])
def test_a_point_lands_where_the_template_map_says(size):
    place = torch.tensor([[0.45, 0.52]], dtype=torch.float64)
    crop = face_crop(_blob(size, place[0], 0.05), "ffhq", "arcface_112_v2", 112)
    expected = transform_points(place, between_templates("ffhq", "arcface_112_v2"))[0].float()
    assert crop.shape == (1, 3, 112, 112)
    torch.testing.assert_close(_centroid(crop), expected, atol=0.01, rtol=0)


def test_equal_frames_at_the_same_size_change_nothing():
    images = torch.rand(2, 3, 56, 56)
    assert face_crop(images, "ffhq", "ffhq", 56) is images


def test_strong_shrinking_averages_instead_of_skipping():
    stripes = (torch.arange(896) % 2).float().expand(1, 3, 896, 896)
    for crop_template in ("ffhq", "arcface_112_v2"):
        inner = face_crop(stripes, crop_template, "arcface_112_v2", 112)[..., 8:-8, 8:-8]
        assert (inner - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 9)])
def test_other_shapes_are_refused(shape):
    with raises(ValueError, str(tuple(shape))):
        face_crop(torch.zeros(shape), "ffhq", "ffhq", 8)


def test_an_unknown_template_is_named_with_the_choices():
    with raises(OptionError, argument="crop_template", value="passport"):
        check_template("crop_template", "passport")
