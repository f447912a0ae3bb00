"""Frames of videos in an evaluation: whatever the chunks and stops, each is compared with those before it."""

import math
from pathlib import Path

import pytest
import torch

from idn.data.alignment.detector import Face
from idn.errors import UserError
from idn.evaluation.evaluate import Evaluation
from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.pairs.pair_set import PairName, Pairs, PairSet
from idn.evaluation.parts import Parts
from idn.evaluation.report.report import write_report
from idn.evaluation.report.summary import read_judged
from idn.evaluation.timeline import Timeline, Track
from idn.evaluation.videos import score_video
from idn.images import to_uint8
from idn.types import IdentityFeatures, SwapBatch
from tests.conftest import TinyEncoder

SIZE = 64
RUNS = [0] * 7 + [1] * 6 + [2]
STEP = 2 / SIZE


def shape() -> torch.Tensor:
    """68 landmarks whose eyes lie 0.3 apart."""
    points = 0.3 + 0.4 * torch.rand(68, 2, generator=torch.Generator().manual_seed(0))
    points[[36, 39, 42, 45]] = torch.tensor([[0.3, 0.4], [0.4, 0.4], [0.6, 0.4], [0.7, 0.4]])
    return points


def blob(x: float, light: float) -> torch.Tensor:
    """(3, S, S): a soft spot whose place and brightness are known."""
    steps = (torch.arange(SIZE) + 0.5) / SIZE
    spot = torch.exp(-((steps[None] - x).square() + (steps[:, None] - 0.5).square()) / 0.02)
    return (light * spot).expand(3, -1, -1)


def landmarks(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The shape, moved by where the spot is."""
    steps = (torch.arange(SIZE) + 0.5) / SIZE
    grey = images.mean(1)
    x = (grey.sum(1) * steps).sum(1) / grey.sum((1, 2))
    return shape() + torch.stack([x - 0.5, torch.zeros_like(x)], 1)[:, None]


class Clips(PairSet):
    """Videos of a spot that moves to the right."""

    def __init__(self, runs: list[int] | None) -> None:
        names = [PairName(f"v{run}/{k:02d}", "s/0", f"v{run}", f"s{run}") for k, run in enumerate(RUNS)]
        super().__init__("clips", names, SIZE, "ffhq", False, {}, {}, runs)

    def load(self, rows: range) -> Pairs:
        target = torch.stack([blob(0.4 + 0.01 * row, 0.5) for row in rows])
        face = torch.ones(len(rows), 1, SIZE, SIZE)
        points = torch.full((len(rows), 5, 2), 0.5)
        return Pairs(
            [self.names[row] for row in rows],
            SwapBatch(target, target, face, torch.zeros(len(rows)) > 0, landmarks=points),
        )


class Shaken(Method):
    """The target, shifted to and fro by a number of pixels and lit up every other frame."""

    def __init__(self, name: str, pixels: float, flash: float = 0.0, bad: int = -1, stop: int | None = None) -> None:
        super().__init__(name, {"kind": "student"})
        self.pixels, self.flash, self.bad, self.stop = pixels, flash, bad, stop

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        rows = [int(name.target.split("/")[1]) for name in pairs.names]
        if self.stop in rows and 0 not in rows:
            raise KeyboardInterrupt
        places = [0.4 + 0.01 * row + (-1) ** row * self.pixels / SIZE for row in rows]
        image = torch.stack([blob(x, 0.5) for x in places])
        image += torch.tensor([self.flash * (row % 2) for row in rows]).view(-1, 1, 1, 1)
        image[[row == self.bad for row in rows]] = math.nan
        return judged(image, pairs)


def evaluation(out: Path, batch: int, methods: list[Method] | None = None, runs: list[int] | None = RUNS) -> Evaluation:
    torch.manual_seed(0)
    usual = [Shaken("copy", 0), Shaken("shaken", 0.5), Shaken("spoiled", 0.5, bad=3), Shaken("lit", 0, flash=0.1)]
    parts = {"encoder": TinyEncoder(), "recogniser": TinyEncoder(), "teacher": None, "landmarks": landmarks}
    return Evaluation(pair_set=Clips(runs), methods=methods or usual, out=out, batch=batch, **parts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips")
    evaluation(out, len(RUNS)).run()
    return out


def test_a_known_shake_comes_out_in_every_frame_that_has_two_before_it(whole: Path) -> None:
    judged = read_judged(whole)
    known = [False, False, *[True] * 5, False, False, *[True] * 4, False]
    by_hand = 100 / math.sqrt(6) * 4 * 0.5 / SIZE / 0.3
    found = torch.from_numpy(judged.column("shaken", "jitter"))
    assert (~found.isnan()).tolist() == known
    assert found[~found.isnan()].numpy() == pytest.approx(by_hand, rel=0.02)
    assert judged.column("copy", "jitter")[2:7].tolist() == [0] * 5
    flickers = torch.from_numpy(judged.column("lit", "flicker"))
    assert flickers.isnan().tolist() == [True, *[False] * 6, True, *[False] * 5, True]
    assert flickers[~flickers.isnan()].numpy() == pytest.approx(10, abs=1e-3)


def test_frames_after_one_that_cannot_be_judged_are_compared_with_nothing(whole: Path) -> None:
    judged = read_judged(whole)
    jitters, flickers = (torch.from_numpy(judged.column("spoiled", name)).isnan() for name in ("jitter", "flicker"))
    assert jitters[:9].tolist() == [True, True, False, True, True, True, False, True, True]
    assert flickers[:7].tolist() == [True, False, False, True, True, False, False]


@pytest.mark.parametrize("batch", [1, 4])
def test_chunks_and_a_stop_change_nothing(whole: Path, tmp_path: Path, batch: int) -> None:
    usual = [Shaken("copy", 0), Shaken("shaken", 0.5), Shaken("spoiled", 0.5, bad=3), Shaken("lit", 0, flash=0.1)]
    with pytest.raises(KeyboardInterrupt):
        evaluation(tmp_path, batch, [*usual[:3], Shaken("lit", 0, flash=0.1, stop=4)]).run()
    assert Parts(tmp_path).done(0) and not Parts(tmp_path).done(4 // batch)
    evaluation(tmp_path, batch, usual).run()
    one, other = read_judged(tmp_path), read_judged(whole)
    for name in one.names:
        for metric in ("jitter", "flicker"):
            assert one.column(name, metric) == pytest.approx(other.column(name, metric), abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    ("runs", "said"),
    [(list(range(14)), "no jitter and no flicker"), ([k // 2 for k in range(14)], "no jitter: it takes 3")],
)
def test_single_frames_say_that_they_have_no_jitter(tmp_path: Path, runs: list[int], said: str, capsys) -> None:
    evaluation(tmp_path, 8, [Shaken("shaken", 0.5)], runs).run()
    summary = write_report(tmp_path)
    assert said in summary["protocol"]["not_measured"][0] and said in " ".join(capsys.readouterr().out.split())
    assert "jitter" not in summary["metrics"] and ("flicker" in summary["metrics"]) == (len(set(runs)) < 14)
    assert all(said in (tmp_path / name).read_text() for name in ("metrics.json", "report.html"))


def test_pictures_that_follow_no_order_have_no_past(tmp_path: Path) -> None:
    evaluation(tmp_path, 8, [Shaken("shaken", 0.5)], None).run()
    assert not {"jitter", "flicker"} & write_report(tmp_path)["metrics"].keys()
    track = Track(torch.zeros(2, 3, 4, 4), torch.zeros(2, 68, 2))
    assert Timeline(None).follow(range(2), track, {"a": track}) == {}


def frames(pixels: float, count: int = 12, flash: float = 0.0) -> list[torch.Tensor]:
    places = [0.4 + 0.01 * k + (-1) ** k * pixels / SIZE for k in range(count)]
    return [to_uint8(blob(x, 0.5) + flash * (k % 2) + 0.02) for k, x in enumerate(places)]


def detector(photo: torch.Tensor) -> list[Face]:
    """A face in the whole frame, unless that is black."""
    points = torch.tensor([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], dtype=torch.float64)
    return [Face(torch.zeros(4), points * SIZE, 1.0)] if photo.any() else []


def scores(results: list[torch.Tensor], targets: list[torch.Tensor]):
    return score_video(iter(results), iter(targets), detector, landmarks, "arcface_112_v2", SIZE)


def test_a_video_is_scored_frame_by_frame() -> None:
    copy, shaken = scores(frames(0), frames(0)), scores(frames(1), frames(0))
    assert copy[:3] == (12, 12, 0) and copy.flicker == 0
    assert shaken.jitter > 2 and shaken.flicker > 1 and shaken.jitter_ratio > 10
    assert scores(frames(2), frames(0)).jitter == pytest.approx(2 * shaken.jitter, rel=0.1)
    assert scores(frames(0, flash=0.1), frames(0)).flicker == pytest.approx(10, abs=0.5)


def test_a_frame_without_a_face_cuts_a_video_in_two() -> None:
    targets = frames(0)
    targets[5] = torch.zeros_like(targets[5])
    found = scores(frames(1), targets)
    assert (
        found.frames == 12
        and found.measured == 11
        and found.jitter == pytest.approx(scores(frames(1), frames(0)).jitter, rel=0.1)
    )
    short = scores(frames(1, 4), [targets[0], targets[5], targets[2], targets[3]])
    assert math.isnan(short.jitter) and short.flicker > 0


@pytest.mark.parametrize(
    ("results", "targets", "said"),
    [
        (frames(0, 3), frames(0, 4), "the result ends after 3 frames"),
        (frames(0, 1), frames(0, 1), "1 frames has no jitter"),
        ([f[:, :32] for f in frames(0)], frames(0), "give two of one size"),
        (frames(0, 3), [torch.zeros_like(f) for f in frames(0, 3)], "no face is found in any of the 3 frames"),
    ],
)
def test_videos_that_cannot_be_scored_are_told_in_one_sentence(results, targets, said: str) -> None:
    with pytest.raises(UserError, match=said):
        scores(results, targets)
