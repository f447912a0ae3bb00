"""Muxing (PyAV): encoded parts and everything that is copied from the original, as one file."""

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idn.errors import OptionError
from idn.files.atomic import atomic_write
from idn.video.reading import VideoInfo, open_video, pyav, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_OPTIONS = {".mp4": {"movflags": "+faststart+use_metadata_tags"}, ".mov": {"movflags": "+faststart+use_metadata_tags"}}


def check_container(info: VideoInfo, out: Path, codec: str) -> None:
    """Raise OptionError for a name whose container cannot hold these pictures, or the sound and subtitles of a video.

    out: the file to be; only its ending matters.
    """
    check_ending(out, codec)
    with (
        open_video(info.path) as source,
        pyav().open(_Nowhere(), "w", format=_container(out)) as container,
    ):
        for stream in _copied(source, video_stream(source, info.path)):
            try:
                container.add_stream_from_template(stream, opaque=True)
            except ValueError as error:
                name = stream.codec_context.name if stream.codec_context else stream.type
                said = f"cannot hold the {stream.type} of the target ({name}): try .mkv, or the ending of the target"
                raise OptionError("out", out, said) from error


def check_ending(out: Path, codec: str) -> None:
    """Raise OptionError for a name that is no video's, or whose container cannot hold a codec: all that can be known
    before there is a target."""
    av = pyav()
    pictures = av.Codec(codec, "w")
    with av.open(_Nowhere(), "w", format=_container(out)) as container:
        if pictures.name not in kind_codecs(container) and _canonical(pictures) not in kind_codecs(container):
            raise OptionError("out", out, f"cannot hold {codec}: try .mkv, or another codec")


def _container(out: Path) -> str:
    try:
        return pyav().ContainerFormat(_format(out), "w").name
    except ValueError as error:
        raise OptionError("out", out, "has the ending of no video that can be written: try .mp4 or .mkv") from error


def kind_codecs(container: "OutputContainer") -> set[str]:
    """Names of the codecs that a container may hold."""
    return container.supported_codecs


def _canonical(codec: Any) -> str:
    return codec.canonical_name if hasattr(codec, "canonical_name") else codec.name


def _format(out: Path) -> str:
    """FFmpeg's name of the container of an ending."""
    return {
        ".mkv": "matroska",
        ".m4v": "mp4",
        ".ts": "mpegts",
        ".mts": "mpegts",
        ".mpg": "mpeg",
        ".mpeg": "mpeg",
        ".wmv": "asf",
    }.get(out.suffix.lower(), out.suffix.lower().removeprefix("."))


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:
        """Forget it."""
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Stay."""
        return offset

    def tell(self) -> int:
        """Always at the beginning."""
        return 0


def _copied(source: "InputContainer", pictures: "Stream") -> "list[Stream]":
    """The streams beside the pictures that can be copied: sound and subtitles."""
    return [s for s in source.streams if s.index != pictures.index and s.type in ("audio", "subtitle")]


def join(info: VideoInfo, parts: Sequence[Path], out: Path, tags: Mapping[str, str], until: int | None = None) -> None:
    """Write one file from encoded parts, with the sound and the subtitles of the original, which are not encoded again.

    parts: at least one, in order.
    out: takes its name when it is whole.
    tags: added to those of the original.
    until: time of the last frame where these are not all of them, in units of the stream: nothing later is copied.
    Memory does not grow with the length.
    """
    av = pyav()
    with atomic_write(out) as draft, open_video(info.path) as source, av.open(str(parts[0])) as first:
        options = _OPTIONS.get(out.suffix.lower(), {})
        with av.open(str(draft), "w", format=_format(out), options=options) as container:
            container.metadata.update({**source.metadata, **tags})
            pictures = video_stream(source, info.path)
            ours = container.add_stream_from_template(first.streams.video[0], opaque=True)
            ours.time_base = info.time_base
            ours.metadata.update(pictures.metadata)
            if info.display is not None:
                ours.set_display_matrix(info.display)
            others = {s.index: _template(container, s) for s in _copied(source, pictures)}
            end = None if until is None else until * info.time_base
            streams = [_of_parts(parts, info, ours)]
            streams += [_of_source(info.path, list(others), others, end)] if others else []
            for _, _, packet in heapq.merge(*streams, key=lambda entry: entry[:2]):
                container.mux_one(packet)


def _template(container: "OutputContainer", stream: "Stream") -> "Stream":
    made = container.add_stream_from_template(stream, opaque=True)
    made.metadata.update(stream.metadata)
    made.disposition = stream.disposition
    return made


Timed = tuple[float, int, Any]
"""Seconds, a number that tells streams apart, and a packet."""


def _of_parts(parts: Sequence[Path], info: VideoInfo, stream: "Stream") -> Iterator[Timed]:
    """The packets of all parts, with times of decoding that grow over all of them.

    The containers of the parts keep the times at which frames are shown, and parts follow each other. So the n-th
    packet is decoded when the n-th frame is shown, less the depth by which the encoder changes the order.
    """
    order = array("q", (packet.pts for packet in _packets(parts, info.time_base)))
    shown = sorted(order)
    depth = max(bisect_left(shown, last) + 1 - count for count, last in enumerate(accumulate(order, max), 1))
    step = max(1, round(1 / (info.rate * info.time_base)))
    for count, packet in enumerate(_packets(parts, info.time_base)):
        packet.dts = shown[count - depth] if count >= depth else shown[0] - (depth - count) * step
        place = bisect_left(shown, packet.pts) + 1
        packet.duration = shown[place] - packet.pts if place < len(shown) else step
        packet.stream = stream
        yield float(packet.dts * info.time_base), 0, packet


def _packets(parts: Sequence[Path], time_base: Fraction) -> "Iterator[Packet]":
    """All packets of all parts, with times in units of the original stream."""
    for part in parts:
        with pyav().open(str(part)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    packet.pts = round(packet.pts * (packet.time_base / time_base))
                    packet.time_base = time_base
                    yield packet


def _of_source(
    path: Path, indices: Sequence[int], streams: "Mapping[int, Stream]", end: Fraction | None
) -> Iterator[Timed]:
    """The packets of sound and subtitles, as they are."""
    with open_video(path) as source:
        for packet in source.demux([source.streams[index] for index in indices]):
            if packet.size == 0 or (packet.dts is None and packet.pts is None):
                continue
            time = (packet.pts if packet.dts is None else packet.dts) * packet.time_base
            if end is not None and time > end:
                continue
            number = packet.stream.index
            packet.stream = streams[number]
            yield float(time), 1 + number, packet
