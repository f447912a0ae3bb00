"""Faces through a video: close-ups between searches, gaps, jitter, who is chosen."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from idn.data.alignment.detector import Face
from idn.errors import OptionError
from idn.geometry.affine import fit_similarity, transform_points
from idn.geometry.templates import template_points
from idn.swap.video.picture import FramePicture
from idn.swap.video.smoothing import OneEuro
from idn.swap.video.tracking import Followed, Following, Tracker
from idn.video.encoding import fitting
from idn.video.planes import Colours
from idn.video.reading import frames, read_info
from tests.raising import raises
from tests.swap.parts import Brighter, face
from tests.swap.test_photo import swapping
from tests.swap.video.squares import Squares
from tests.video.clips import centre, write_clip

pytest.importorskip("av", reason="videos need av")


def followed(path: Path, squares: "Squares | Cut", following: Following) -> list[Followed]:
    info = read_info(path)
    tracker = Tracker(squares, swapping(Brighter(32, 1.0), "largest"), following)
    found: list[Followed] = []
    for frame, _ in frames(info):
        picture = FramePicture(fitting(frame, "yuv420p", (info.width, info.height)), info, Colours.of(info, "yuv420p"))
        found += tracker.follow(picture, True)
    return [*found, *tracker.rest()]


def middles(entries: list[Followed]) -> list[tuple[float, float] | None]:
    """Of the landmarks of each frame, as the middle of the square has them."""
    found: list[tuple[float, float] | None] = []
    for entry in entries:
        marks = next(iter(entry.places.values()), None)
        if marks is None:
            found.append(None)
            continue
        back = fit_similarity(template_points("ffhq"), marks)
        found.append(tuple(transform_points(torch.full((1, 2), 0.5, dtype=torch.float64), back)[0].tolist()))
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "in.mp4", 30, sound=False)


def errors(entries: list[Followed]) -> list[float]:
    return [
        float("inf") if found is None else max(abs(a - b) for a, b in zip(found, centre(index), strict=True))
        for index, found in enumerate(middles(entries))
    ]


def test_a_face_is_followed_by_close_ups_between_searches(clip: Path) -> None:
    squares = Squares()
    entries = followed(clip, squares, Following(every=10, gap=3, smooth=False))
    assert len(entries) == 30 and max(errors(entries)) < 1.5
    assert squares.searches == 3 and squares.close_ups == 29
    assert len({number for entry in entries for number in entry.places}) == 1


class Cut:
    """A face that stands elsewhere from the fifth frame on; both places lie in each other's close-ups."""

    frame = 0

    def here(self) -> Face:
        return face(10 if self.frame < 5 else 60, 30, 48)

    def __call__(self, photo: torch.Tensor, turned: bool, wanted: Callable[[Face], bool]) -> list[Face]:
        return [self.here()] if wanted(self.here()) else []

    def in_close_ups(self, crops: torch.Tensor, matrices: Sequence[torch.Tensor]) -> list[Face | None]:
        self.frame += len(crops) > 0
        return [None if self.frame == 5 else self.here()] * len(crops)


def test_after_a_cut_a_face_is_followed_once(clip: Path) -> None:
    entries = followed(clip, Cut(), Following(every=10, gap=5, smooth=False))
    assert [len(entry.places) for entry in entries] == [1] * 30


def test_a_short_gap_is_bridged_and_a_long_one_is_not(clip: Path) -> None:
    bridged = followed(clip, Squares(range(8, 11)), Following(every=10, gap=5, smooth=False))
    assert max(errors(bridged)) < 2.5
    assert len({number for entry in bridged for number in entry.places}) == 1
    open_ = followed(clip, Squares(range(8, 11)), Following(every=10, gap=0, smooth=False))
    assert [k for k, error in enumerate(errors(open_)) if error == float("inf")]
    lost = followed(clip, Squares(range(8, 18)), Following(every=10, gap=3, smooth=False))
    missing = [k for k, error in enumerate(errors(lost)) if error == float("inf")]
    assert len(missing) >= 6 and missing == list(range(missing[0], missing[-1] + 1)) and missing[-1] < 28


def test_frames_come_out_in_their_order_and_all(clip: Path) -> None:
    for gap in (0, 4, 100):
        entries = followed(clip, Squares(), Following(gap=gap))
        times = [entry.picture.time for entry in entries]
        assert len(times) == 30 and times == sorted(times)


def test_turned_and_stretched_pictures_are_searched_as_viewers_see_them(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4", 6, sound=False, turned=90, sample_aspect_ratio=Fraction(3, 2))
    info = read_info(path)
    entries = followed(path, Squares(), Following(gap=0, smooth=False))
    copy, scale = entries[0].picture.searched(64)
    assert copy.shape == (3, 64, 32) and scale == pytest.approx(240 / 64)
    assert info.turns == 1
    for index, found in enumerate(middles(entries)):
        assert abs(found[0] / 1.5 - centre(index)[0]) < 2 and abs(found[1] - centre(index)[1]) < 2


def test_jitter_is_filtered_and_motion_is_not_held_back() -> None:
    torch.manual_seed(0)
    rest = torch.rand(5, 2, dtype=torch.float64) * 20 + torch.tensor([[0.0, 0], [40, 0], [20, 20], [5, 45], [35, 45]])
    noise = torch.randn(100, 5, 2, dtype=torch.float64) * 0.5
    filtered, raw = OneEuro(), [rest + part for part in noise]
    calm = torch.stack([filtered(marks, index / 25) for index, marks in enumerate(raw)])[25:]
    assert calm.diff(dim=0).abs().mean() < 0.45 * torch.stack(raw)[25:].diff(dim=0).abs().mean()
    moving, late = OneEuro(), []
    for index in range(60):
        marks = rest + torch.tensor([3.0 * index, 0])  # 75 px a second, about a face
        late.append(float((marks - moving(marks, index / 25)).abs().max()))
    assert max(late[10:]) < 6
    assert torch.equal(OneEuro()(rest, 0.0), rest)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("every", 0), ("every", None), ("gap", -1), ("smooth", "no"), ("search", 0), ("search", 640.5)],
)
def test_what_following_cannot_be_is_refused_by_name(argument: str, value: object) -> None:
    with raises(OptionError, argument=argument, value=value):
        Following(**{argument: value})
