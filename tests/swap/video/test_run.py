"""Whole videos: nothing lost, nothing half-written; stops, kills and going on."""

import errno
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from idn.errors import DamagedFile, OptionError
from idn.swap.report import Report
from idn.swap.video import run
from idn.swap.video.run import VideoWork
from idn.swap.video.tracking import Following
from idn.video.encoding import Encoding, PartWriter
from tests.raising import raises
from tests.swap.parts import Brighter
from tests.swap.test_photo import swapping
from tests.swap.video.squares import Squares
from tests.video.clips import centre, pictures_of, shown_times, sound_of, write_clip

pytest.importorskip("av", reason="videos need av")
FAST = Encoding(options={"preset": "ultrafast"})


class Calm:
    """A stamp that leaves no mark, so that pixels can be compared."""

    enabled = False

    def pixels(self, pixels: np.ndarray, limited_range: bool = False) -> np.ndarray:
        return pixels

    def tags(self, lineage: object) -> dict[str, str]:
        return {"comment": "synthetic"}

    def sign(self, path: Path, lineage: object) -> None:
        assert path.is_file()


def work(progress: Callable[[int, int], None] = lambda done, total: None, **options: object) -> VideoWork:
    many = swapping(Brighter(32, 1.0), "largest", (0.4,))
    usual = {
        "swapping": many,
        "everyone": Squares(),
        "following": Following(gap=3),
        "encoding": FAST,
        "stamp": Calm(),
        "overwrite": False,
        "resume": False,
        "plan": {},
        "report": Report(many.parts),
        "progress": progress,
    }
    return VideoWork(**usual | options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames at uneven times, the square in all but the first 10."""
    path = tmp_path_factory.mktemp("clips") / "in.mp4"
    return write_clip(path, 50, times=lambda k: Fraction(k, 25) + Fraction(k % 3, 200), shown=lambda index: index >= 10)


def brightened(path: Path, original: Path) -> list[bool]:
    """Whether the square of each frame is brighter than it was."""
    found = []
    for index, (after, before) in enumerate(zip(pictures_of(path), pictures_of(original), strict=True)):
        x, y = (round(v) for v in centre(index))
        found.append(after[y, x, 1].astype(int) - before[y, x, 1] > 40)
        corner = np.abs(after[-12:, -12:].astype(int) - before[-12:, -12:])
        assert corner.mean() < 4
    return found


def test_a_video_is_swapped_with_its_times_and_its_sound(clip: Path, tmp_path: Path) -> None:
    done = work()
    done.write(clip, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert shown_times(tmp_path / "out.mp4") == shown_times(clip)
    assert sound_of(tmp_path / "out.mp4") == sound_of(clip)
    assert brightened(tmp_path / "out.mp4", clip) == [index >= 10 for index in range(50)]
    report = done.report
    assert (report.pictures, report.without_face, report.faces, report.swapped) == (50, 10, 40, 40)
    assert report.similarity and report.written == [str(tmp_path / "out.mp4")]
    import av

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["comment"] == "synthetic"


def stopping(at: int, error: type[BaseException]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == at:
            raise error

    return progress


def test_after_ctrl_c_a_partial_file_plays_and_the_rest_can_follow(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "SECONDS", 0.5)
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        work(stopping(25, KeyboardInterrupt)).write(clip, out)
    assert not out.exists() and "resume=true" in capsys.readouterr().err
    partial = shown_times(tmp_path / "out.partial.mp4")
    assert partial == shown_times(clip)[: len(partial)] and len(partial) == 25
    assert 0 < len(sound_of(tmp_path / "out.partial.mp4")) < len(sound_of(clip))
    with raises(OptionError, "resume=true", argument="out"):
        work().write(clip, out)
    seen: list[int] = []
    again = work(lambda done, total: seen.append(done), resume=True)
    again.write(clip, out)
    assert seen[0] == 26 and seen[-1] == 50
    assert shown_times(out) == shown_times(clip) and sound_of(out) == sound_of(clip)
    assert brightened(out, clip) == [index >= 10 for index in range(50)]
    assert (again.report.pictures, again.report.earlier, again.report.without_face) == (50, 25, 10)


def test_a_kill_costs_the_part_that_was_begun_alone(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SECONDS", 0.5)
    out = tmp_path / "out.mp4"
    with pytest.raises(SystemExit):
        work(stopping(33, SystemExit)).write(clip, out)
    assert not out.exists()
    with raises(OptionError, argument="resume"):
        work(resume=True, plan={"other": 1}).write(clip, out)
    seen: list[int] = []
    work(lambda done, total: seen.append(done), resume=True).write(clip, out)
    assert 20 < seen[0] <= 33 and shown_times(out) == shown_times(clip)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_an_error_of_any_stage_arrives_and_leaves_no_file(clip: Path, tmp_path: Path) -> None:
    class Broken(Squares):
        def in_close_ups(self, crops: object, matrices: object) -> list:
            raise ZeroDivisionError("of the detector")

    with pytest.raises(ZeroDivisionError, match="of the detector"):
        work(everyone=Broken()).write(clip, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_without_a_face_all_frames_pass_and_it_is_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.mp4", 8, sound=False, shown=lambda index: False)
    done = work()
    done.write(path, tmp_path / "out.mp4")
    assert done.report.without_face == 8 and done.report.swapped == 0 and "no face" in done.report.notes[0]
    assert shown_times(tmp_path / "out.mp4") == shown_times(path)


class FullDisk:
    """Refuses to write after so many calls."""

    def __init__(self, calls: int, kept: Callable[..., None]) -> None:
        self.calls, self.kept = calls, kept

    def __call__(self, *args: object, **options: object) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.kept(*args, **options)


@pytest.mark.parametrize(("place", "calls"), [("write", 33), ("close", 1), ("join", 0)])
def test_a_full_disk_keeps_the_finished_parts(
    place: str, calls: int, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SECONDS", 0.5)
    owner = run if place == "join" else PartWriter
    full = FullDisk(calls, getattr(owner, place))
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, lambda *args, **options: full(*args, **options))
        with raises(OptionError, "full disk", "resume=true", argument="out"):
            work().write(clip, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [".out.mp4.parts"]
    assert not list(tmp_path.rglob("*.draft"))
    seen: list[int] = []
    work(lambda done, total: seen.append(done), resume=True).write(clip, tmp_path / "out.mp4")
    assert (not seen or seen[0] > 10) and shown_times(tmp_path / "out.mp4") == shown_times(clip)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_full_disk_before_the_first_part_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk(0, PartWriter.write)
    monkeypatch.setattr(PartWriter, "write", lambda *args: full(*args))
    with raises(OptionError, "full disk", argument="out"):
        work().write(clip, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_what_a_video_loses_is_said(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 60, sound=False).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 3])
    seen = write_clip(tmp_path / "seen.mkv", 4, codec="ffv1", pixel_format="yuva444p", sound=False)
    done = work()
    for target in (tmp_path / "cut.mkv", seen):
        done.write(target, tmp_path / f"{target.stem}.mp4")
    said = "\n".join(done.report.notes)
    assert "pictures end at" in said and "transparency" in said


def test_a_source_is_never_replaced(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_text("mine")
    with raises(OptionError, "source itself", argument="out"):
        work(overwrite=True, sources=[tmp_path / "mine.mp4"]).write(clip, tmp_path / "mine.mp4")
    assert (tmp_path / "mine.mp4").read_text() == "mine"


def test_outputs_that_cannot_be_are_refused_before_any_work(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_text("mine")
    for out in (clip, tmp_path / "there.mp4", tmp_path / "out.txt"):
        with raises(OptionError, argument="out"):
            work().write(clip, out)
    with raises(OptionError, argument="codec"):
        work(encoding=Encoding("none")).write(clip, tmp_path / "out.mp4")
    (tmp_path / "no.mp4").write_text("no video")
    with raises(DamagedFile, path=tmp_path / "no.mp4"):
        work().write(tmp_path / "no.mp4", tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no.mp4", "there.mp4"]
    assert (tmp_path / "there.mp4").read_text() == "mine"
