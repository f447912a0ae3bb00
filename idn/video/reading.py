"""Reading videos (PyAV, demuxing and decoding): what a file is, and its frames with their times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idn.errors import DamagedFile, FileError, ForeignFile, MissingExtra

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp")
)
"""File name endings of what is taken for a video in a folder."""


def pyav() -> Any:
    """The package av. Raises MissingExtra if it is not installed."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtra("videos need", "video") from error
    av.logging.set_level(None)  # what matters is raised, and a callback in Python deadlocks with decoding threads
    return av


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its pictures."""

    path: Path
    width: int
    height: int
    pixel_format: str
    time_base: Fraction
    """Seconds of one unit of a frame's time."""
    rate: Fraction
    """Frames per second, on the average."""
    frames: int
    """How many there are, or about; 0 where nobody knows."""
    start: int
    """Time of the first frame, in units of `time_base`."""
    pixel_aspect: Fraction
    """Width of a pixel over its height."""
    display: tuple[int, ...] | None
    """The display matrix, nine numbers; None where pictures are shown as they are stored."""
    turns: int
    """Quarter turns against the clock by which they are shown."""
    colours: tuple[int, int, int, int]
    """Matrix, range, primaries and transfer, as FFmpeg numbers them."""
    chroma_left: bool
    """Whether samples of colour lie at the left of those of brightness, as in MPEG-2 and later, not in their middle."""
    seconds: float = 0.0
    """How long the file says that it is; 0 where it says nothing."""


def open_video(path: Path) -> "InputContainer":
    """An open file. Raises MissingExtra, and FileError for whatever is no video that can be read."""
    av = pyav()
    try:
        return av.open(str(path), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise DamagedFile(path, f"cannot be read as a video ({_said(error)}): give another file") from error


def video_stream(container: "InputContainer", path: Path) -> "VideoStream":
    """The first stream of pictures that is no cover. Raises ForeignFile if there is none."""
    av = pyav()
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams or streams[0].codec_context is None:
        raise ForeignFile(path, "holds no moving pictures: give a video")
    return streams[0]


def read_info(path: Path) -> VideoInfo:
    """What a video is. Raises FileError for a file that cannot be read or has no frames."""
    with open_video(path) as container:
        stream = video_stream(container, path)
        frame = next(_decoded(container, stream), None)
        if frame is None:
            raise DamagedFile(path, "holds no frame that can be decoded: give another video")
        display, turns = _display(frame)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        known = stream.frames or round(float(_seconds(container, stream) * rate))
        context = stream.codec_context
        colours = tuple(
            int(of_frame or of_stream or 0)
            for of_frame, of_stream in (
                (_known(frame.colorspace), _known(context.colorspace)),
                (frame.color_range, context.color_range),
                (_known(frame.color_primaries), _known(context.color_primaries)),
                (_known(frame.color_trc), _known(context.color_trc)),
            )
        )
        return VideoInfo(
            path=path,
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            time_base=stream.time_base,
            rate=rate,
            frames=known,
            start=frame.pts or 0,
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            display=display,
            turns=turns,
            colours=colours,
            chroma_left=context.name not in ("mjpeg", "mpeg1video"),
            seconds=float(_seconds(container, stream)),
        )


def _known(value: int) -> int:
    """A number of FFmpeg's for colours, 0 where it means that nothing is known."""
    return 0 if value == 2 else value


def _seconds(container: "InputContainer", stream: "VideoStream") -> Fraction:
    if stream.duration:
        return stream.duration * stream.time_base
    return Fraction(container.duration or 0, 1_000_000)


def _display(frame: "VideoFrame") -> tuple[tuple[int, ...] | None, int]:
    """The display matrix and the quarter turns against the clock that come nearest to it."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            matrix = tuple(np.frombuffer(bytes(data), np.int32).tolist())
            return matrix, round(frame.rotation / 90) % 4
    return None, 0


def frames(
    info: VideoInfo, after: int | None = None, warm_up: int = 0, damaged: Callable[[], None] = lambda: None
) -> "Iterator[tuple[VideoFrame, bool]]":
    """The frames of a video in the order in which they are shown, each with a time, which grows.

    after: time of the last frame that is not wanted, in units of the stream; None for all.
    warm_up: how many frames up to that one come all the same.
    damaged: called for every packet that cannot be decoded.
    Yields each frame and whether it is wanted. Frames that cannot be decoded are passed over. Raises FileError for a
    video that changes its size.
    """
    with open_video(info.path) as container:
        stream = video_stream(container, info.path)
        stream.thread_type = "AUTO"
        step = max(1, round(1 / (info.rate * info.time_base)))
        if after is not None:
            _seek(container, stream, after - warm_up * step)
        last: int | None = None
        for frame in _decoded(container, stream, damaged):
            if (frame.width, frame.height) != (info.width, info.height):
                sizes = f"{info.width} x {info.height} to {frame.width} x {frame.height}"
                raise FileError(info.path, f"changes its size from {sizes}: cut it there, and swap the parts")
            if frame.pts is None or (last is not None and frame.pts <= last):
                frame.pts = info.start if last is None else last + (step if frame.pts is None else 1)
            last = frame.pts
            frame.time_base = info.time_base
            wanted = after is None or frame.pts > after
            if wanted or frame.pts > after - warm_up * step:
                yield frame, wanted


def _seek(container: "InputContainer", stream: "VideoStream", time: int) -> None:
    """Go to a place from which the frame of that time can be decoded; to the beginning where that is not possible."""
    av = pyav()
    try:
        container.seek(max(time, stream.start_time or 0), stream=stream, backward=True)
    except av.error.FFmpegError:
        container.seek(0)


def _decoded(
    container: "InputContainer", stream: "VideoStream", damaged: Callable[[], None] = lambda: None
) -> "Iterator[VideoFrame]":
    """Frames, without those of packets that are damaged."""
    av = pyav()
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            found = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            damaged()
            continue
        yield from found


def _said(error: Exception) -> str:
    """FFmpeg's own words."""
    return str(getattr(error, "strerror", None) or error)
