import itertools
import math

import kornia
import pytest
import torch

from idn.errors import OptionError
from idn.geometry import templates, warping
from idn.geometry.affine import fit_similarity, in_pixels, invert_affine, transform_points
from idn.geometry.templates import TEMPLATES, between_templates, template_points
from idn.geometry.warping import paste, realign, warp
from tests.raising import raises


def similarity(n: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    angle = 6.28 * torch.rand(n, generator=draw, dtype=torch.float64)
    scale = 0.3 + 2 * torch.rand(n, generator=draw, dtype=torch.float64)
    a, b = angle.cos() * scale, angle.sin() * scale
    linear = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    return torch.cat([linear, torch.randn(n, 2, 1, generator=draw, dtype=torch.float64)], -1)


def smooth(size: int) -> torch.Tensor:
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    return torch.stack([x, y, 0.5 + 0.4 * torch.sin(5 * x + 3 * y)])[None]


def test_fit_recovers_every_similarity_of_a_batch() -> None:
    known = similarity(40)
    points = torch.randn(40, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(fit_similarity(points, transform_points(points, known)), known)
    torch.testing.assert_close(fit_similarity(points[3], transform_points(points[3], known[3])), known[3])


def test_fit_is_the_least_squares_optimum() -> None:
    torch.manual_seed(0)
    points, onto = torch.randn(2, 5, 2, dtype=torch.float64)
    best = fit_similarity(points, onto)
    cost = (transform_points(points, best) - onto).square().sum()
    a, b, x, y = best[0, 0], best[1, 0], best[0, 2], best[1, 2]
    for da, db, dx, dy in 1e-3 * torch.randn(50, 4, dtype=torch.float64):
        moved = torch.stack([torch.stack([a + da, -b - db, x + dx]), torch.stack([b + db, a + da, y + dy])])
        assert (transform_points(points, moved) - onto).square().sum() > cost


def test_fit_never_reflects() -> None:
    points = template_points("ffhq")
    mirrored = points * points.new_tensor((-1.0, 1.0))
    assert fit_similarity(points, mirrored)[:, :2].det() > 0


def test_points_in_one_place_have_no_fit() -> None:
    assert not fit_similarity(torch.full((5, 2), 0.4, dtype=torch.float64), template_points("ffhq")).isfinite().any()


def test_inverse() -> None:
    known = similarity(10)
    points = torch.rand(10, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(transform_points(transform_points(points, known), invert_affine(known)), points)
    torch.testing.assert_close(invert_affine(invert_affine(known)), known)


def test_warp_by_identity_changes_nothing() -> None:
    image = torch.rand(2, 3, 17, 17)
    torch.testing.assert_close(warping.warp(image, torch.eye(2, 3), 17), image, atol=1e-5, rtol=0)


def test_warp_by_identity_resizes_any_shape() -> None:
    image = smooth(64)[..., :40, :]
    out = warping.warp(image, torch.eye(2, 3), 32)
    wanted = torch.nn.functional.interpolate(image, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out, wanted, atol=1e-4, rtol=0)


def test_warp_shifts_by_whole_pixels() -> None:
    image = torch.rand(1, 3, 16, 16)
    shift = torch.tensor([[1.0, 0.0, 3 / 16], [0.0, 1.0, -2 / 16]])
    out = warping.warp(image, shift, 16, padding="zeros")
    torch.testing.assert_close(out[..., :14, 3:], image[..., 2:, :13], atol=1e-5, rtol=0)
    assert out[..., 14:, :].abs().max() < 1e-5 and out[..., :3].abs().max() < 1e-5


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_warp_agrees_with_kornia(padding: str) -> None:
    image = torch.rand(3, 3, 40, 40)
    matrices = similarity(3, seed=4)
    matrices[:, :, 2] *= 0.2
    pixel = matrices * torch.tensor([1.0, 1.0, 40.0], dtype=torch.float64)  # edges at 0 and 40
    centres = torch.full((2,), 0.5, dtype=torch.float64)
    pixel[:, :, 2] += pixel[:, :, :2] @ centres - centres  # kornia counts from the centre of the first pixel
    theirs = kornia.geometry.transform.warp_affine(
        image, pixel.float(), (40, 40), padding_mode=padding, align_corners=False
    )
    torch.testing.assert_close(warping.warp(image, matrices, 40, padding), theirs, atol=1e-4, rtol=0)


def test_warp_moves_content_where_points_go() -> None:
    matrix = torch.tensor([[0.8, -0.3, 0.2], [0.3, 0.8, -0.1]])
    size = 128
    place = torch.tensor([[0.35, 0.62]])
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    blob = torch.exp(-((x - place[0, 0]) ** 2 + (y - place[0, 1]) ** 2) / 0.002)[None, None]
    out = warping.warp(blob, matrix, size)[0, 0]
    centre = torch.stack([(out * x).sum(), (out * y).sum()]) / out.sum()
    torch.testing.assert_close(centre[None], transform_points(place, matrix), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("template", "wanted", "scale"),
    [
        ("arcface_112_v1", "arcface_112_v2", 1.112),
        ("arcface_112_v2", "ffhq", 0.744),
        ("arcface_128", "ffhq", 0.850),
        ("arcface_112_v1", "arcface_128", 0.973),
        ("arcface_112_v1", "ffhq", 0.828),
        ("arcface_112_v2", "arcface_128", 0.875),
        ("arcface_112_v2", "mtcnn", 0.850),
    ],
)
def test_published_relations_between_templates(template: str, wanted: str, scale: float) -> None:
    assert between_templates(template, wanted)[:, :2].det().sqrt() == pytest.approx(scale, abs=6e-4)


def test_templates_are_ordered_as_seen_in_the_image() -> None:
    for points in templates.TEMPLATES.values():
        left_eye, right_eye, nose, left_mouth, right_mouth = points
        assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        assert points.shape == (5, 2) and points.min() > 0.2 and points.max() < 0.9


def test_unknown_template_is_named() -> None:
    with raises(OptionError, argument="template", value="dlib"):
        template_points("dlib")


def test_reframe_to_the_same_frame_resizes() -> None:
    image = torch.rand(1, 3, 32, 32)
    assert realign(image, "ffhq", "ffhq", 32) is image
    assert realign(image, "ffhq", "ffhq", 16).shape == (1, 3, 16, 16)


def test_reframe_and_back_keeps_the_middle() -> None:
    image = smooth(96)
    there = realign(image, "ffhq", "arcface_112_v2", 160)
    back = realign(there, "arcface_112_v2", "ffhq", 96)
    middle = slice(30, 66)
    torch.testing.assert_close(back[..., middle, middle], image[..., middle, middle], atol=6e-3, rtol=0)


def test_reframe_is_differentiable() -> None:
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: realign(x, "ffhq", "arcface_128", 6), image)
    realign(image, "ffhq", "arcface_128", 16).sum().backward()
    assert image.grad is not None and (image.grad[..., 2:6, 2:6] > 0).all()


def old_paste(images: torch.Tensor, target: torch.Tensor, template: str, crop_template: str) -> torch.Tensor:
    """By two realignments, of the crop and of its feathered square."""
    size = images.shape[-1]
    line = torch.arange(size, dtype=images.dtype)
    edge = (torch.minimum(line, size - 1 - line) / (size / 20)).clamp(0, 1)
    mask = torch.minimum(edge[None, :], edge[:, None])[None, None]
    back = realign(images, template, crop_template, target.shape[-1], "border")
    inside = realign(mask, template, crop_template, target.shape[-1], "zeros")
    return (inside * back + (1 - inside) * target).clamp(0, 1)


@pytest.mark.parametrize(("size", "own"), [(96, 112), (128, 256), (100, 224), (64, 512)])
def test_paste_between_templates_is_what_two_realignments_give(size: int, own: int) -> None:
    images, target = torch.rand(2, 3, own, own), torch.rand(2, 3, size, size)
    for template, crop_template in itertools.permutations(TEMPLATES, 2):
        matrix = in_pixels(invert_affine(between_templates(template, crop_template)), size, own)
        assert torch.equal(paste(target, images, matrix), old_paste(images, target, template, crop_template))


def waves(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return 0.5 + 0.4 * torch.stack([torch.sin(x / 17), torch.cos(y / 23), torch.sin((x + y) / 29)])[None]


def turned(degrees: float, scale: float, centre: tuple[float, float], size: int) -> torch.Tensor:
    """Pixels of a picture -> pixels of a crop of `size` whose middle shows `centre`."""
    a = torch.tensor(math.radians(degrees), dtype=torch.float64)
    linear = scale * torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
    middle = torch.tensor([[size / 2], [size / 2]], dtype=torch.float64)
    return torch.cat([linear, middle - linear @ torch.tensor(centre, dtype=torch.float64)[:, None]], 1)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -120])
@pytest.mark.parametrize("centre", [(150.0, 110.0), (20.0, 190.0)], ids=["inside", "partly outside"])
@pytest.mark.parametrize("extent", [60, 300], ids=["small", "large"])
def test_a_crop_pasted_back_reproduces_the_picture(degrees: float, centre: tuple[float, float], extent: int) -> None:
    size, height, width = 128, 200, 260
    picture, matrix = waves(height, width), turned(degrees, size / extent, centre, size)
    back = torch.cat([matrix[:, :2] * torch.tensor((width, height)) / size, matrix[:, 2:] / size], -1)
    crop = warp(picture, back, size)
    assert (paste(picture, crop, matrix) - picture).abs().max() < 0.02
    touched = (paste(picture, torch.zeros_like(crop), matrix) != picture).float().mean()
    assert 0 < touched <= 1.1 * extent**2 / (height * width)


def test_paste_takes_a_mask_and_leaves_the_rest_bit_for_bit() -> None:
    picture, crop = torch.rand(2, 3, 400, 300), torch.rand(2, 3, 32, 32)
    matrix = torch.stack([turned(20, 1.0, (80, 90), 32), turned(0, 1.0, (200, 300), 32)])
    assert torch.equal(paste(picture, crop, matrix, torch.zeros(1, 1, 32, 32)), picture)
    out = paste(picture, crop, matrix, torch.ones(2, 1, 32, 32))
    torch.testing.assert_close(out[1, :, 290:310, 190:210], crop[1, :, 6:26, 6:26], atol=1e-4, rtol=0)
    assert torch.equal(out[0, :, 200:], picture[0, :, 200:]) and torch.equal(out[1, :, :200], picture[1, :, :200])
    assert torch.equal(paste(picture, crop, turned(0, 1.0, (1000, 1000), 32)), picture)


def test_a_large_crop_is_averaged_when_it_shrinks_back() -> None:
    stripes = torch.zeros(1, 1, 256, 256)
    stripes[..., ::2] = 1
    out = paste(torch.zeros(1, 1, 64, 64), stripes, turned(0, 8.0, (32, 32), 256), torch.ones(1, 1, 256, 256))
    assert (out[..., 20:44, 20:44] - 0.5).abs().max() < 0.05
