"""Small videos: a red square that moves over a calm background, and a tone."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

SIZE, SIDE = (160, 120), 24
BASE = Fraction(1, 12800)
"""Time base of the pictures, in which 25 frames a second are whole numbers."""


def centre(index: int) -> tuple[float, float]:
    """Of the square in a frame."""
    return 50 + 1.5 * index, 60 + 10 * np.sin(index / 4)


def picture(index: int, size: tuple[int, int] = SIZE, shown: bool = True) -> np.ndarray:
    """(H, W, 3) uint8."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([100 + 0 * x, 90 + x // 4, 110 + y // 4], -1).astype(np.uint8)
    if shown:
        cx, cy = centre(index)
        pixels[round(cy) - SIDE // 2 : round(cy) + SIDE // 2, round(cx) - SIDE // 2 : round(cx) + SIDE // 2] = (
            220,
            30,
            30,
        )
    return pixels


def write_clip(
    path: Path,
    frames: int = 30,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Callable[[int], Fraction] = lambda index: Fraction(index, 25),
    base: Fraction = BASE,
    sound: bool = True,
    shown: Callable[[int], bool] = lambda index: True,
    turned: int = 0,
    **context: Any,
) -> Path:
    """Write a video. shown: whether the square is there in a frame. turned: degrees in the display matrix."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.time_base = stream.codec_context.time_base = base
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if turned:
            stream.set_display_rotation(turned)
        tone = container.add_stream("aac", rate=44100) if sound else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, size, shown(index)), "rgb24").reformat(
                format=pixel_format
            )
            frame.pts, frame.time_base = round(times(index) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            _sound(container, tone, int(frames / 25 * 44100 / 1024))
    return path


def _sound(container: Any, stream: Any, blocks: int) -> None:
    import av

    for block in range(blocks):
        at = np.arange(1024) + 1024 * block
        wave = (0.3 * np.sin(2 * np.pi * 440 * at / 44100)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
        frame.rate, frame.pts = 44100, 1024 * block
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def shown_times(path: Path) -> list[Fraction]:
    """When every frame is shown, in seconds."""
    import av

    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(container.streams.video[0])]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every packet of sound."""
    import av

    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(container.streams.audio[0]) if p.size]


def pictures_of(path: Path) -> list[np.ndarray]:
    """All frames, (H, W, 3) uint8 each."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]
