"""Reading, encoding in parts and joining: times, colours, turns and sound come out as they went in."""

from fractions import Fraction
from pathlib import Path

import pytest

from idn.errors import DamagedFile, ForeignFile, MissingExtra, OptionError
from idn.video.encoding import Encoding, PartWriter, fitting
from idn.video.muxing import check_container, join
from idn.video.reading import frames, read_info
from tests.raising import raises
from tests.video.clips import pictures_of, shown_times, sound_of, write_clip

pytest.importorskip("av", reason="videos need av")


def through(path: Path, out: Path, encoding: Encoding = Encoding(options={"preset": "ultrafast"})) -> None:  # noqa: B008
    """Decode, encode in parts of 10 frames, and join."""
    info = read_info(path)
    encoding.check(info)
    check_container(info, out, encoding.codec)
    parts: list[Path] = []
    writer = None
    for frame, _ in frames(info):
        writer = writer or PartWriter(out.parent / f"{len(parts)}.nut", info, encoding)
        writer.write(fitting(frame, encoding.pixel_format(info), encoding.size(info)))
        if writer.frames == 10:
            writer.close()
            parts.append(writer.path)
            writer = None
    if writer is not None:
        writer.close()
        parts.append(writer.path)
    join(info, parts, out, {"comment": "said"})


CASES = {
    "plain": {},
    "b frames and variable times": {
        "times": lambda index: Fraction(index, 25) + Fraction(index % 3, 200),
        "codec": "libx264",
    },
    "turned": {"turned": 90, "sound": False},
    "pixels that are not square": {"sample_aspect_ratio": Fraction(4, 3), "sound": False},
    "Rec. 2020": {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1, "sound": False},
    "full range": {"color_range": 2, "colorspace": 5, "sound": False},
    "4:4:4": {"pixel_format": "yuv444p", "sound": False},
    "10 bits": {"pixel_format": "yuv420p10le", "sound": False},
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_known_of_a_video_survives(name: str, tmp_path: Path) -> None:
    path, out = write_clip(tmp_path / "in.mp4", **CASES[name]), tmp_path / "out.mp4"
    preset = "medium" if "b frames" in name else "ultrafast"
    through(path, out, Encoding(options={"preset": preset}))
    before, after = read_info(path), read_info(out)
    for field in (
        "width",
        "height",
        "pixel_format",
        "time_base",
        "pixel_aspect",
        "display",
        "turns",
        "colours",
        "start",
    ):
        assert getattr(after, field) == getattr(before, field), field
    assert shown_times(out) == shown_times(path)
    if CASES[name].get("sound", True):
        assert sound_of(out) == sound_of(path)
    differing = max(abs(a.astype(int) - b).mean() for a, b in zip(pictures_of(path), pictures_of(out), strict=True))
    assert differing < 3


def test_odd_sides_are_made_even_for_h264_and_kept_elsewhere(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in.avi", 12, (161, 121), "mjpeg", "yuvj420p", base=Fraction(1, 25), sound=False)
    through(path, tmp_path / "out.mp4")
    assert (read_info(tmp_path / "out.mp4").width, read_info(tmp_path / "out.mp4").height) == (162, 122)
    assert shown_times(tmp_path / "out.mp4") == shown_times(path)
    last = pictures_of(tmp_path / "out.mp4")[0]
    assert abs(last[:, -1].astype(int) - last[:, -2]).mean() < 8
    through(path, tmp_path / "out.mkv", Encoding("libvpx-vp9", 40, {"deadline": "realtime", "cpu-used": "8"}))
    assert (read_info(tmp_path / "out.mkv").width, read_info(tmp_path / "out.mkv").height) == (161, 121)


def test_frames_after_a_time_come_with_some_before(tmp_path: Path) -> None:
    info = read_info(write_clip(tmp_path / "in.mp4", 40, sound=False))
    every = [frame.pts for frame, _ in frames(info)]
    later = [(frame.pts, wanted) for frame, wanted in frames(info, every[19], warm_up=4)]
    assert [pts for pts, wanted in later if wanted] == every[20:]
    assert [pts for pts, wanted in later if not wanted] == every[16:20]


def test_what_is_no_video_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video " * 500)
    with raises(DamagedFile, path=tmp_path / "text.mp4"):
        read_info(tmp_path / "text.mp4")
    whole = write_clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    with raises(DamagedFile, path=tmp_path / "cut.mp4"):
        read_info(tmp_path / "cut.mp4")
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        from tests.video.clips import _sound

        _sound(container, container.add_stream("aac", rate=44100), 5)
    with raises(ForeignFile, "no moving pictures", path=tmp_path / "sound.mp4"):
        read_info(tmp_path / "sound.mp4")


def test_codecs_and_containers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    info = read_info(write_clip(tmp_path / "in.mp4"))
    for encoding in (Encoding("nothing"), Encoding("aac"), Encoding(options={"preset": "warp"})):
        with raises(OptionError, argument="codec"):
            encoding.check(info)
    with raises(OptionError, argument="crf"):
        Encoding(crf=90).check(info)
    with raises(OptionError, argument="threads"):
        Encoding(threads=-1).check(info)
    for name in ("out.txt", "out.webm", "out.gif"):
        with raises(OptionError, argument="out"):
            check_container(info, tmp_path / name, "libx264")
    check_container(info, tmp_path / "out.mkv", "libx264")


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with raises(MissingExtra, extra="video"):
        read_info(tmp_path / "in.mp4")
