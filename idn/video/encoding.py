"""Encoding videos in parts (PyAV): each part a whole file of its own, so that a kill costs the last one alone."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from idn.errors import OptionError
from idn.files.option_checks import require_int
from idn.video.pixel_formats import PLANAR, planes_of
from idn.video.reading import VideoInfo, pyav

if TYPE_CHECKING:
    import numpy as np
    from av import VideoFrame
    from numpy.typing import NDArray

CODECS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "fast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "libaom-av1": {"b": "0", "cpu-used": "6", "row-mt": "1"},
    "libsvtav1": {"preset": "8"},
}
"""Usual options of encoders; others are taken as they are."""
PART = ".nut"
"""Ending of the file of a part: a container of FFmpeg that keeps any codec and the times as they are."""


_AS_IT_IS = {"avoid_negative_ts": "disabled"}
"""Times of decoding may begin below 0; the container shall not move those of the pictures for that."""


class Encoding(NamedTuple):
    """How pictures are encoded."""

    codec: str = "libx264"
    crf: int = 18
    """Quality: the lower, the better; its range is the codec's."""
    options: Mapping[str, str] = {}
    """Of the encoder, such as {"preset": "slow"}."""
    threads: int = 0
    """Of the encoder; 0 leaves it to FFmpeg."""

    def check(self, info: VideoInfo) -> None:
        """Raise OptionError for a codec that this build of FFmpeg does not have, or that refuses these options."""
        self.check_codec()
        context = self.context(info)
        try:
            context.open()
        except pyav().error.FFmpegError as error:
            said = f"refuses these pictures or options ({error}): choose another one, or other options"
            raise OptionError("codec", self.codec, said, self) from error

    def check_codec(self) -> None:
        """Raise OptionError for a codec, a quality or a number of threads that cannot be, whatever the video."""
        try:
            require_int("crf", self.crf, 0, 63)
            require_int("threads", self.threads, 0, 256)
        except OptionError as error:
            raise error.owned(self) from None
        try:
            codec = pyav().Codec(self.codec, "w")
        except Exception as error:  # of a kind that PyAV changes from version to version
            said = "is not in this build of PyAV: choose libx264"
            raise OptionError("codec", self.codec, said, self) from error
        if codec.type != "video":
            raise OptionError("codec", self.codec, "encodes no pictures: choose libx264", self)

    def pixel_format(self, info: VideoInfo) -> str:
        """The format of PLANAR in which pictures are changed and encoded: that of the video where that is possible."""
        known = [form.name for form in pyav().Codec(self.codec, "w").video_formats or ()]
        near = {"nv12": "yuv420p", "p010le": "yuv420p10le", "yuv410p": "yuv420p", "yuv411p": "yuv422p"}
        own = near.get(info.pixel_format, info.pixel_format)
        usual = (own, own.replace("yuvj", "yuv"), own.replace("12le", "10le"), own.replace("10le", ""), "yuv420p")
        return next((name for name in usual if name in PLANAR and name in known), "yuv420p")

    def losses(self, info: VideoInfo) -> list[str]:
        """What of the pictures cannot be kept, a clause each."""
        av = pyav()
        given, kept = (av.VideoFormat(name, 64, 64) for name in (info.pixel_format, self.pixel_format(info)))
        before, after = (max(part.bits for part in form.components) for form in (given, kept))
        said = ["its transparency was left out"] if any(part.is_alpha for part in given.components) else []
        if after < before:
            said.append(f"its {before} bits became {after}")
        if len(given.components) > 2 and (given.chroma_width(), given.chroma_height()) > (
            kept.chroma_width(),
            kept.chroma_height(),
        ):
            said.append(f"its colours became coarser, from {given.name} to {kept.name}")
        return said

    def size(self, info: VideoInfo) -> tuple[int, int]:
        """Width and height of what is written: even where an encoder of H.264 or H.265 wants that."""
        across, down, _ = PLANAR[self.pixel_format(info)]
        if self.codec not in ("libx264", "libx265"):
            across = down = 1
        return -(-info.width // across) * across, -(-info.height // down) * down

    def context(self, info: VideoInfo) -> Any:
        """A new encoder, not yet open."""
        av = pyav()
        context = av.CodecContext.create(self.codec, "w")
        self.describe(context, info)
        return context

    def describe(self, context: Any, info: VideoInfo) -> None:
        """Tell an encoder what it will get."""
        context.width, context.height = self.size(info)
        context.pix_fmt = self.pixel_format(info)
        context.time_base, context.framerate = info.time_base, info.rate
        context.sample_aspect_ratio = info.pixel_aspect
        matrix, span, primaries, transfer = info.colours
        full = info.pixel_format.startswith("yuvj")
        context.colorspace, context.color_range = matrix or 2, span or (2 if full else 0)
        context.color_primaries, context.color_trc = primaries or 2, transfer or 2
        if self.threads:
            context.thread_count = self.threads
        given = {name: str(value) for name, value in self.options.items()}
        context.options = {**CODECS.get(self.codec, {}), "crf": str(self.crf), **given}


class PartWriter:
    """One part: frames in, a file out, which has its name only once it is whole.

    path: with the ending PART.
    info: of the video that the frames are of.
    """

    def __init__(self, path: Path, info: VideoInfo, encoding: Encoding) -> None:
        self.path, self._draft, self._info, self._encoding = path, path.with_suffix(".draft"), info, encoding
        self._container = pyav().open(str(self._draft), "w", format=PART.removeprefix("."), options=_AS_IT_IS)
        self._stream = self._container.add_stream(encoding.codec, rate=info.rate)
        encoding.describe(self._stream.codec_context, info)
        self._stream.time_base = info.time_base
        self._size = encoding.size(info)
        self.frames = 0
        self.first: int | None = None
        self.last = 0

    def write(self, frame: "VideoFrame") -> None:
        """Encode one frame, in the format and size of the encoding."""
        self.first = frame.pts if self.first is None else self.first
        self.last = frame.pts
        self.frames += 1
        frame.pict_type = 0
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the part. Raises OSError if the disk refuses."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._draft.replace(self.path)

    def abandon(self) -> None:
        """Leave the part away."""
        with suppress(Exception):  # of a full disk, which refuses to close it, too
            self._container.close()
        self._draft.unlink(missing_ok=True)


def fitting(frame: "VideoFrame", pixel_format: str, size: tuple[int, int]) -> "VideoFrame":
    """The frame in a format and size: as it is where it has them, with its last line and column again where it lacks.

    Keeps its time.
    """
    width, height = size
    if frame.format.name != pixel_format:
        frame = _timed(frame.reformat(format=pixel_format), frame)
    if (frame.width, frame.height) == size:
        return frame
    padded = pyav().VideoFrame(width, height, pixel_format)
    bits = PLANAR[pixel_format][2]
    for before, after in zip(planes_of(frame, bits), planes_of(padded, bits), strict=True):
        _pad(before, after)
    return _timed(padded, frame)


def _timed(made: "VideoFrame", frame: "VideoFrame") -> "VideoFrame":
    made.pts, made.time_base, made.duration = frame.pts, frame.time_base, frame.duration
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(made, name, getattr(frame, name))
    return made


def _pad(before: "NDArray[np.generic]", after: "NDArray[np.generic]") -> None:
    """Copy a plane into one that may be larger, and repeat its last column and line."""
    height, width = before.shape
    after[:height, :width] = before
    after[:height, width:] = before[:, -1:]
    after[height:] = after[height - 1]
