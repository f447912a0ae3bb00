"""Drawn material for a first swap: a portrait, and a clip of another person who looks around; nobody of them exists."""

import math
from fractions import Fraction
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.data.procedural.parameters import ATTRIBUTES, index
from idn.files.atomic import atomic_write
from idn.images import to_uint8
from idn.video.reading import pyav

SIDE = 384
"""Pixels of a side of both."""
RATE, SECONDS = 25, 8
"""Frames per second of the clip, and its length."""
_MOVES = {"yaw": 8, "pitch": 5, "roll": 7, "smile": 4, "mouth_open": 2, "gaze_x": 4, "shift_x": 6, "light_x": 8}
"""Attributes that swing from one end to the other and back, and the seconds that this takes."""
_BLINK = "eye_close"


def draw_portrait(path: Path, seed: int) -> None:
    """Write a picture of one drawn person who looks ahead. seed: who that is."""
    renderer, who, how = _person(seed)
    pixels = to_uint8(renderer.render(who, how, SIDE).image)[0].permute(1, 2, 0).numpy()
    with atomic_write(path) as draft:
        Image.fromarray(pixels).save(draft)


def draw_clip(path: Path, seed: int, seconds: float = SECONDS) -> None:
    """Write a video of one drawn person who turns, talks and blinks. Raises MissingExtra without PyAV."""
    av = pyav()
    renderer, who, how = _person(seed)
    with atomic_write(path) as draft, av.open(str(draft), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for number in range(round(seconds * RATE)):
            image = renderer.render(who, _moved(how, number / RATE), SIDE).image
            frame = av.VideoFrame.from_ndarray(to_uint8(image)[0].permute(1, 2, 0).contiguous().numpy(), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _person(seed: int) -> tuple[FaceRenderer, Tensor, Tensor]:
    """A renderer, somebody, (1, identity_dim), and a calm situation, (1, attribute_dim), without glasses."""
    renderer, generator = FaceRenderer(glasses=0, occluders=0), torch.Generator().manual_seed(seed)
    who, how = renderer.sample_identity(1, generator), renderer.sample_attributes(1, generator)
    for name in (*_MOVES, _BLINK):
        how[:, index(ATTRIBUTES, name)] = 0.0
    return renderer, who, how


def _moved(how: Tensor, time: float) -> Tensor:
    """The situation after some seconds."""
    now = how.clone()
    for name, seconds in _MOVES.items():
        now[:, index(ATTRIBUTES, name)] = 0.8 * math.sin(2 * math.pi * time / seconds)
    now[:, index(ATTRIBUTES, _BLINK)] = 1.0 if time % 3 > 2.8 else -0.5
    return now
