"""One photograph: seams, several faces, turned ones and those at the border, colours, averaged sources."""

import math

import pytest
import torch

from idn.data.alignment.detector import Face
from idn.errors import OptionError, UserError
from idn.images import from_uint8
from idn.swap.choose import make_choice
from idn.swap.models.model import average
from idn.swap.opacity import matched, opacity
from idn.swap.photo import Source, Swapping, swap_photo
from idn.swap.sources import listed_people
from idn.swap.turned_faces import facing
from idn.types import IdentityFeatures
from tests.raising import raises
from tests.swap.parts import Brighter, Found, face


def smooth(height: int = 200, width: int = 260) -> torch.Tensor:
    """(3, H, W) uint8: slow waves, by at most two grey levels from pixel to pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.sin(x / 40), torch.cos(y / 50), torch.sin((x + y) / 60)])
    return ((0.45 + 0.2 * waves) * 255).to(torch.uint8)


def swapping(
    model: Brighter, faces: object = "all", amounts: tuple[float, ...] = (0.3,), **options: object
) -> Swapping:
    whos = [IdentityFeatures(torch.tensor([[amount, 0.0, 0.0]]), torch.zeros(1, 1, 1, 1)) for amount in amounts]
    sources = [Source(model.person(who, None), who) for who in whos]
    return Swapping(model, sources, make_choice(faces, len(sources)), **options)


def steepest(pixels: torch.Tensor) -> float:
    """Largest difference of two neighbouring pixels, in grey levels."""
    values = pixels.float()
    return max(float(values.diff(dim=axis).abs().max()) for axis in (-1, -2))


def sideways(found: Face, degrees: float) -> Face:
    """The face with its nose where a head that is turned so far has it."""
    marks = found.landmarks.clone()
    down = marks[3:].mean(0) - marks[:2].mean(0)
    marks[2] = marks[:2].mean(0) + 0.6 * down + torch.tensor([0.5 * degrees * math.pi / 180, 0.0]) * down[1]
    return found._replace(landmarks=marks)


@pytest.mark.parametrize(
    ("yaw", "most", "swapped"), [(44, 45, 1), (-44, 45, 1), (46, 45, 0), (-60, 45, 0), (60, None, 1)]
)
def test_profiles_stay_as_they_are_and_are_counted(yaw: float, most: float | None, swapped: int) -> None:
    many, photo = swapping(Brighter(32, 1.0)), smooth()
    many.most_yaw = most
    done = swap_photo(photo, Found([sideways(face(60, 40, 100), yaw)]), many)
    assert (len(done.swapped), done.aside, done.faces) == (swapped, 1 - swapped, 1)
    assert torch.equal(done.pixels, photo) == (not swapped)


def test_a_turning_face_fades() -> None:
    upright = face(0, 0, 100)
    shares = [facing(sideways(upright, yaw).landmarks, 45) for yaw in (0, 39, 42.5, 45.1, 80)]
    assert shares == pytest.approx([1, 1, 0.5, 0, 0], abs=0.02)
    assert facing(torch.zeros(5, 2), 45) == 0 and facing(torch.zeros(5, 2), None) == 1


@pytest.mark.parametrize("mask", [None, 1.0], ids=["no mask", "a mask of one"])
@pytest.mark.parametrize(
    "where", [face(60, 40, 120), face(60, 40, 120, 1), face(-50, 90, 140), face(150, 60, 20)], ids=str
)
def test_no_seam_is_left_however_much_the_face_changes(mask: float | None, where: object) -> None:
    photo = smooth()
    done = swap_photo(photo, Found([where]), swapping(Brighter(64, mask)))
    change = (done.pixels.float() - photo.float()).abs()
    assert change.max() > 60  # the face is replaced, by 0.3 of 255
    rows = where.size / 10  # the border is a tenth of the crop
    assert steepest(done.pixels.float() - photo.float()) < 1.5 * 1.6 * 77 / rows + 2  # without feathering: 77
    outside = torch.ones_like(photo, dtype=torch.bool)
    left, top, right, bottom = (int(v) for v in where.box.tolist())
    outside[:, max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    assert torch.equal(done.pixels[outside], photo[outside])


def test_where_the_mask_is_zero_nothing_changes() -> None:
    photo = smooth()
    assert torch.equal(swap_photo(photo, Found([face(60, 40, 100)]), swapping(Brighter(64, 0.0))).pixels, photo)


def test_several_sources_go_to_several_faces_in_one_pass() -> None:
    photo = smooth()
    faces = [face(150, 60, 80), face(20, 60, 80)]
    done = swap_photo(photo, Found(faces), swapping(Brighter(64, 1.0), "left_to_right", (0.1, 0.3)))
    change = (done.pixels.float() - photo.float()).mean(0) / 255
    assert abs(float(change[100, 60]) - 0.1) < 0.02 and abs(float(change[100, 190]) - 0.3) < 0.02
    assert done.faces == 2 and [one.source for one in done.swapped] == [0, 1]


def test_a_batch_gives_what_single_crops_give() -> None:
    photo, faces = smooth(), [face(20 + 60 * k, 40, 50) for k in range(4)]
    one, many = (swap_photo(photo, Found(faces), swapping(Brighter(32, 1.0), batch=n)).pixels for n in (1, 3))
    assert torch.equal(one, many)


def test_colours_are_matched_within_limits() -> None:
    targets = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    share = torch.ones(1, 1, 16, 16)
    darker = (targets - 0.5) * 0.9 + 0.45
    torch.testing.assert_close(matched(darker, targets, share), targets, atol=0.01, rtol=0)
    assert (matched(targets * 0 + 0.01, targets, share).mean() - 0.11).abs() < 0.02  # a tenth, not more
    assert torch.equal(matched(darker, targets, torch.zeros(1, 1, 16, 16)), darker)


def test_opacity_is_zero_at_the_border_and_one_in_the_face() -> None:
    for mask in (None, torch.ones(2, 1, 40, 40)):
        share = opacity(mask, "ffhq", 40)
        assert share[..., 0, :].max() == 0 and share[..., :, -1].max() == 0 and share[..., 20, 20].min() == 1
    assert opacity(torch.full((1, 1, 40, 40), 0.1), "ffhq", 40)[..., 20, 20] == pytest.approx(0.4)


def test_several_photographs_of_a_person_are_averaged() -> None:
    seen = [
        IdentityFeatures(torch.eye(2)[[k]], torch.full((1, 1, 1, 1), float(k)), length=torch.ones(1)) for k in (0, 1)
    ]
    who = average(seen)
    assert float(who.embedding.norm()) == pytest.approx(1) and float(who.features) == 0.5
    assert average(seen[:1]) is seen[0]


def test_people_are_read_from_an_option() -> None:
    assert [len(photos) for photos in listed_people({"anna": ["a", "b"], "ben": "c"})] == [2, 1]
    assert len(listed_people("a.jpg")) == 1 and len(listed_people(["a.jpg", "b.jpg"])[0]) == 2
    for odd in (3, [], {}, [["a"]]):
        with raises(OptionError, argument="source"):
            listed_people(odd)


def test_the_picture_that_is_given_is_not_changed() -> None:
    photo = smooth()
    before = photo.clone()
    swap_photo(photo, Found([face(60, 40, 100)]), swapping(Brighter(64)))
    assert torch.equal(photo, before) and from_uint8(photo).max() <= 1


def test_a_fixed_model_takes_no_source() -> None:
    from idn.swap.sources import read_sources

    model = Brighter()
    model.fixed = True
    assert read_sources(model, [], False, lambda: pytest.fail("a detector was made"))[0].who is None
    with raises(UserError, "leave source out"):
        read_sources(model, listed_people("a.png"), False, list)
    model.fixed = False
    with raises(UserError, "source=PHOTO"):
        read_sources(model, [], False, list)
