"""Edits: nothing outside of their region changes, the same seed gives the same bytes, unfit faces are refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from idn.errors import OptionError
from idn.triplets.drawing import blurred, cover, strokes
from idn.triplets.edit import ATTRIBUTE, IDENTITY, Edit, Unsuitable
from idn.triplets.edits.beard import Beard
from idn.triplets.edits.conditions import Blur, Colour, Compression, Light
from idn.triplets.edits.cut_out import CutOut
from idn.triplets.edits.eyewear import Glasses, SunGlasses
from idn.triplets.edits.face_mask import FaceMask
from idn.triplets.edits.forehead_hair import ForeheadHair
from idn.triplets.edits.hand import Hand
from idn.triplets.edits.hat import Hat
from idn.triplets.edits.make_up import MakeUp
from idn.triplets.edits.microphone import Microphone
from idn.triplets.edits.warps import Fat, Jaw
from idn.triplets.face import Face
from tests.raising import raises
from tests.triplets.conftest import drawn, laid_over

LOCAL = [Glasses, SunGlasses, Beard, MakeUp, Fat, Jaw, Hand, Hat, Microphone, FaceMask]
WHOLE = [Light, Colour, Blur, Compression]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(edit: Edit, face: Face, seed: int) -> torch.Tensor:
    """Where it changes a face, (S, S) bool, after all that must hold of it."""
    before = face.pixels.clone()
    edited, again = edit(face, seeded(seed)), edit(face, seeded(seed))
    assert edited.pixels.dtype == torch.uint8 and edited.pixels.shape == face.pixels.shape
    assert torch.equal(edited.pixels, again.pixels) and json.loads(json.dumps(edited.parameters)) == edited.parameters
    assert torch.equal(face.pixels, before)
    differs = (edited.pixels != face.pixels).any(0)
    if edited.region is not None:
        assert not (differs & (edited.region == 0)).any()
        assert float(edited.region.min()) >= 0 and float(edited.region.max()) <= 1
        assert 0.002 < float((edited.region > 0).float().mean()) < 0.9
    return differs


@pytest.mark.parametrize("kind", [*LOCAL, *WHOLE], ids=lambda kind: kind.__name__)
def test_nothing_outside_of_its_region_changes(kind: type[Edit], face: Face) -> None:
    assert changed(kind(), face, 0).any()
    one, other = (kind()(face, seeded(seed)) for seed in (0, 1))
    assert not torch.equal(one.pixels, other.pixels) and (one.region is None) == (kind in WHOLE)
    assert kind.makes in (IDENTITY, ATTRIBUTE)


@pytest.mark.parametrize("kind", [Glasses, SunGlasses, Hat, MakeUp, FaceMask], ids=lambda kind: kind.__name__)
def test_it_changes_what_it_is_about(kind: type[Edit], face: Face) -> None:
    places = {Glasses: (0.5, 0.3), SunGlasses: (0.5, 0.1), Hat: (0.0, -1.2), MakeUp: (0.0, 1.1), FaceMask: (0.0, 1.1)}
    x, y = face.place(places[kind])[0].int().tolist()
    assert changed(kind(), face, 1)[y - 4 : y + 5, x - 4 : x + 5].any()
    assert not changed(kind(), face, 1)[:4, :4].any() or kind is Hat


def test_hair_takes_the_colour_of_that_above_it_or_is_not_made(face: Face) -> None:
    bright = Face(torch.full((3, 128, 128), 200, dtype=torch.uint8), face.points / face.size, None)
    with pytest.raises(Unsuitable, match="hair"):
        ForeheadHair()(bright, seeded(0))
    dark = face.pixels.clone()
    top = int(face.place((0.0, -1.2))[0, 1])
    dark[:, :top] = 20
    hairy = Face(dark, face.points / face.size, None)
    differs = changed(ForeheadHair(), hairy, 0)
    x, y = hairy.place((0.6, -0.9))[0].int().tolist()
    assert differs[y - 4 : y + 5, x - 4 : x + 5].any()
    edited = ForeheadHair()(hairy, seeded(0))
    assert float(edited.pixels[:, differs].float().mean()) < float(dark[:, differs].float().mean())


def test_warps_move_the_outline_and_neither_eyes_nor_mouth(face: Face) -> None:
    for kind in (Fat, Jaw):
        differs = changed(kind(), face, 0)
        for place in ((-0.5, 0.0), (0.5, 0.0), (0.0, 0.95)):
            x, y = face.place(place)[0].int().tolist()
            assert not differs[y - 3 : y + 4, x - 3 : x + 4].any()


def test_a_turned_head_or_missing_landmarks_are_refused(face: Face) -> None:
    pixels, points = drawn(3, 128)
    turned = points.clone()
    turned[2, 0] += 0.15
    with pytest.raises(Unsuitable, match="turned"):
        Glasses()(Face(pixels, turned, laid_over(points)), seeded(0))
    with pytest.raises(Unsuitable, match="68 landmarks"):
        Beard()(Face(pixels, points, None), seeded(0))


def test_faces_without_colours_get_things_without_colours(face: Face) -> None:
    grey = face.pixels.float().mean(0, keepdim=True).expand(3, -1, -1).to(torch.uint8)
    shown = Face(grey, face.points / face.size, face.dense / face.size)
    for kind in (Glasses, Hand, Hat, FaceMask, MakeUp):
        pixels = kind()(shown, seeded(2)).pixels.int()
        assert int((pixels.amax(0) - pixels.amin(0)).max()) <= 2


def test_cut_outs_are_laid_over_where_they_are_opaque(face: Face, tmp_path: Path) -> None:
    thing = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    thing.paste((0, 255, 0, 255), (5, 5, 35, 15))
    (tmp_path / "things").mkdir()
    thing.save(tmp_path / "things/green.png")
    edit = CutOut(str(tmp_path / "things"))
    assert changed(edit, face, 0).any() and edit(face, seeded(0)).parameters["picture"] == "green.png"
    (tmp_path / "things/green.png").write_bytes(b"none")
    with pytest.raises(Unsuitable, match=r"green\.png"):
        edit(face, seeded(0))
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with raises(OptionError, argument="folder"):
            CutOut(str(tmp_path / folder))


def test_drawing_is_anti_aliased_and_blur_keeps_what_is_even() -> None:
    x = torch.arange(16.0).expand(16, 16)
    edge = cover(3 * (x - 7.75))
    assert torch.allclose(edge[0, 6:10], torch.tensor([0.0, 0.0, 0.75, 1.0]), atol=1e-5)
    assert torch.allclose(blurred(torch.full((3, 20, 20), 0.3), 5.0), torch.full((3, 20, 20), 0.3), atol=1e-5)
    tone, alpha = strokes(16, [torch.tensor([[2.0, 8.0], [14.0, 8.0]])], [4.0], [0.25])
    assert float(alpha[8, 8]) == 1 and float(tone[8, 8]) == pytest.approx(0.25, abs=0.01) and float(alpha[2, 8]) == 0
