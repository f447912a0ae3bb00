import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.procedural import FaceRenderer, renderer
from idn.data.procedural.parameters import ATTRIBUTES, IDENTITY, Traits, index
from idn.errors import OptionError
from idn.geometry.templates import template_points
from tests.raising import raises

ACTIVE = {"glasses": 0.5, "occluder": 0.2, "occluder_angle": 0.3, "mouth_open": 0.5, "hair_fringe": 0.5, "noise": 0.5}
"""Attribute values of a situation in which every row has something to act on."""
PRESENT = {"freckles": 0.8, "mole_size": 0.6, "beard": 0.5, "wrinkles": 0.5, "lid_fold": 0.5}
"""The same for identities."""
PLAIN = {"glasses": -1.0, "occluder": -1.0}


@pytest.fixture(scope="module")
def faces() -> FaceRenderer:
    return FaceRenderer()


def vector(table: tuple, values: dict[str, float]) -> Tensor:
    row = torch.zeros(1, len(table))
    for name, value in values.items():
        row[0, index(table, name)] = value
    return row


def people(faces: FaceRenderer, n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return faces.sample_identity(n, generator), faces.sample_attributes(n, generator)


def test_vectors_have_the_promised_dimensions(faces: FaceRenderer) -> None:
    identity, attributes = people(faces, 5, 0)
    assert identity.shape == (5, faces.identity_dim) and faces.identity_dim >= 36
    assert attributes.shape == (5, faces.attribute_dim)
    assert identity.abs().max() <= 1 and attributes.abs().max() <= 1
    assert faces.template == "ffhq"


def test_table_names_are_unique_and_ranges_are_not_empty() -> None:
    for table in (IDENTITY, ATTRIBUTES):
        assert len({dim.name for dim in table}) == len(table)
        assert all(dim.low != dim.high for dim in table)


def test_traits_map_the_ends_and_the_middle_of_a_range() -> None:
    dim = IDENTITY[3]
    rows = torch.zeros(4, len(IDENTITY))
    rows[:, 3] = torch.tensor([-1.0, 0.0, 1.0, 9.0])
    expected = torch.tensor([dim.low, (dim.low + dim.high) / 2, dim.high, dim.high])
    torch.testing.assert_close(Traits(IDENTITY, rows)[dim.name].flatten(), expected)


@pytest.mark.parametrize("size", [16, 33, 64, 100, 128])
def test_shapes_and_ranges(faces: FaceRenderer, size: int) -> None:
    out = faces.render(*people(faces, 3, size), size)
    assert out.image.shape == (3, 3, size, size) and out.face.shape == (3, 1, size, size)
    assert out.landmarks.shape == (3, 5, 2)
    for field in (out.image, out.face):
        assert field.dtype == torch.float32 and not field.requires_grad
        assert field.min() >= 0 and field.max() <= 1
    assert out.image.std() > 0.1
    assert 0.05 < out.face.mean() < 0.6


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_corners_of_the_cube_stay_finite(faces: FaceRenderer, sign: float) -> None:
    generator = torch.Generator().manual_seed(5)
    identity = sign * torch.rand(32, faces.identity_dim, generator=generator).round().mul(2).sub(1)
    attributes = sign * torch.rand(32, faces.attribute_dim, generator=generator).round().mul(2).sub(1)
    out = faces.render(identity, attributes, 32)
    assert all(bool(field.isfinite().all()) for field in out)


def test_a_render_is_a_pure_function_and_ignores_its_batch(faces: FaceRenderer) -> None:
    identity, attributes = people(faces, 20, 1)
    torch.manual_seed(1)
    first = faces.render(identity, attributes, 96)
    torch.manual_seed(2)
    again = FaceRenderer().render(identity, attributes, 96)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for k in (0, 13, 19):
        alone = faces.render(identity[k : k + 1], attributes[k : k + 1], 96)
        for whole, part in zip(first, alone, strict=True):
            torch.testing.assert_close(whole[k : k + 1], part, atol=2e-4, rtol=0)


def test_sampling_follows_its_generator(faces: FaceRenderer) -> None:
    a, b, c = (people(faces, 4, seed) for seed in (7, 7, 8))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c[0]) and not torch.equal(a[1], c[1])


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_glasses_and_occluders_come_as_often_as_asked(probability: float) -> None:
    vectors = FaceRenderer(glasses=probability, occluders=probability).sample_attributes(
        2000, torch.Generator().manual_seed(0)
    )
    for name in ("glasses", "occluder"):
        share = (vectors[:, index(ATTRIBUTES, name)] > 0).float().mean().item()
        assert abs(share - probability) < 0.05


@pytest.mark.parametrize(("name", "value"), [("glasses", 1.5), ("occluders", -0.1), ("occluders", None)])
def test_probabilities_outside_their_range_are_refused(name: str, value: float | None) -> None:
    with raises(OptionError, argument=name, value=value):
        FaceRenderer(**{name: value})


def test_wrong_arguments_are_refused(faces: FaceRenderer) -> None:
    identity, attributes = people(faces, 2, 0)
    with raises(ValueError, "2 identities", "1 attribute"):
        faces.render(identity, attributes[:1], 32)
    with raises(ValueError, "(2, 44)"):
        faces.render(identity[:, 1:], attributes, 32)
    with raises(ValueError, "(2, 53)"):
        faces.render(identity, attributes[:, 1:], 32)
    with raises(ValueError, "15", "16"):
        faces.render(identity, attributes, 15)


def test_the_mean_face_sits_on_its_template(faces: FaceRenderer) -> None:
    landmarks = faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, PLAIN), 64).landmarks[0]
    distance = (landmarks - template_points("ffhq")).norm(dim=1)
    assert distance.max() < 0.02


def test_pupils_are_where_the_landmarks_say(faces: FaceRenderer) -> None:
    size = 224
    out = faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, PLAIN | {"noise": -1.0, "eye_close": -1.0}), size)
    columns, rows = (out.landmarks[0] * size).long().unbind(1)
    gray = out.image[0].mean(0)
    for eye in (0, 1):
        around = gray[rows[eye] - 6 : rows[eye] + 7, columns[eye] - 6 : columns[eye] + 7]
        assert around.min() < 0.2
    assert gray[rows[2], columns[2]] > 0.35
    assert out.face[0, 0, rows, columns].min() > 0.99


def test_yaw_moves_the_nose_between_the_eyes(faces: FaceRenderer) -> None:
    nose = []
    for yaw in (-1.0, 0.0, 1.0):
        points = faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, PLAIN | {"yaw": yaw}), 32).landmarks[0]
        nose.append((points[2, 0] - points[:2, 0].mean()).item())
    assert nose[0] < -0.03 and abs(nose[1]) < 0.005 and nose[2] > 0.03


def test_pitch_and_roll_move_the_landmarks(faces: FaceRenderer) -> None:
    def points(**values: float) -> Tensor:
        return faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, PLAIN | values), 32).landmarks[0]

    def drop(landmarks: Tensor) -> Tensor:
        return landmarks[2, 1] - landmarks[:2, 1].mean()

    assert drop(points(pitch=1.0)) > drop(points()) + 0.005 > drop(points(pitch=-1.0)) + 0.01
    tilted = points(roll=1.0)
    assert tilted[1, 1] - tilted[0, 1] > 0.02


@pytest.mark.parametrize("name", [dim.name for dim in IDENTITY])
def test_every_identity_row_shows_in_the_face(faces: FaceRenderer, name: str) -> None:
    low, high = PRESENT | {name: 0.3 if name in PRESENT else -1.0}, PRESENT | {name: 1.0}
    both = torch.cat([vector(IDENTITY, low), vector(IDENTITY, high)])
    out = faces.render(both, vector(ATTRIBUTES, PLAIN).expand(2, -1), 96)
    change = (out.image[0] - out.image[1]).abs() * out.face.amax(0)
    assert change.max() > 0.03


@pytest.mark.parametrize("name", [dim.name for dim in ATTRIBUTES])
def test_every_attribute_row_shows(faces: FaceRenderer, name: str) -> None:
    low, high = ACTIVE | {name: -0.2}, ACTIVE | {name: 0.9}
    both = torch.cat([vector(ATTRIBUTES, low), vector(ATTRIBUTES, high)])
    image = faces.render(vector(IDENTITY, {}).expand(2, -1), both, 96).image
    assert (image[0] - image[1]).abs().max() > 0.01


def test_a_swap_changes_nothing_away_from_the_faces(faces: FaceRenderer) -> None:
    identity, attributes = people(faces, 40, 11)
    size = 96
    ours = faces.render(identity, attributes, size)
    other = faces.render(identity.roll(1, 0), attributes, size)
    near = F.max_pool2d(torch.maximum(ours.face, other.face), 7, 1, 3) > 0
    change = (ours.image - other.image).abs().amax(1, keepdim=True)
    assert change[~near].max() < 1e-3
    assert change[near].mean() > 0.05


def test_the_mask_leaves_out_what_is_in_front(faces: FaceRenderer) -> None:
    bare = faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, PLAIN), 96).face
    for values in ({"glasses": 0.5, "occluder": -1.0}, {"glasses": -1.0, "occluder": 0.2}):
        covered = faces.render(vector(IDENTITY, {}), vector(ATTRIBUTES, values), 96).face
        assert (covered <= bare).all() and (bare - covered).max() > 0.9


def test_bands_hold_every_feature(faces: FaceRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    identity = torch.rand(160, faces.identity_dim, generator=generator).round() * 2 - 1
    attributes = torch.rand(160, faces.attribute_dim, generator=generator).round() * 2 - 1
    banded = faces.render(identity, attributes, 40).image
    monkeypatch.setattr(renderer, "EYE_BAND", (0.0, 1.0))
    monkeypatch.setattr(renderer, "MOUTH_BAND", (0.0, 1.0))
    torch.testing.assert_close(faces.render(identity, attributes, 40).image, banded, atol=2e-3, rtol=0)


def test_sizes_show_the_same_picture(faces: FaceRenderer) -> None:
    identity, attributes = people(faces, 8, 21)
    attributes[:, index(ATTRIBUTES, "noise")] = -1
    attributes[:, index(ATTRIBUTES, "blur")] = -1
    large = F.avg_pool2d(faces.render(identity, attributes, 192).image, 3)
    small = faces.render(identity, attributes, 64).image
    assert (large - small).abs().mean() < 0.02
