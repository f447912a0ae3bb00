"""Crops out of YUV planes and back: the colours of a full conversion, and not a bit changed elsewhere."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from idn.swap.opacity import opacity
from idn.video.pixel_formats import PLANAR, planes_of
from idn.video.planes import Colours, cut, paste
from idn.video.reading import VideoInfo

av = pytest.importorskip("av", reason="videos need av")


def info(pixel_format: str, matrix: int = 1, span: int = 1, size: tuple[int, int] = (96, 64)) -> VideoInfo:
    return VideoInfo(
        Path("x"),
        *size,
        pixel_format,
        Fraction(1, 25),
        Fraction(25),
        1,
        0,
        Fraction(1),
        None,
        0,
        (matrix, span, 0, 0),
        True,
    )


def waves(height: int = 64, width: int = 96) -> torch.Tensor:
    """(3, H, W) in [0, 1], smooth, so that halving the colours costs little."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return 0.5 + 0.3 * torch.stack([torch.sin(x / 15), torch.cos(y / 12), torch.sin((x + y) / 18)])


def frame(colours: Colours, pixel_format: str, pixels: torch.Tensor) -> object:
    """A frame of these pixels, made by the equations that `Colours` states, with the samples of colour at the left."""
    made = av.VideoFrame(pixels.shape[2], pixels.shape[1], pixel_format)
    for index, (plane, values) in enumerate(zip(planes_of(made, colours.bits), colours.yuv(pixels), strict=False)):
        if index and (colours.across, colours.down) != (1, 1):
            smooth = torch.nn.functional.pad(values[None, None], (1, 1, 0, 0), "replicate")
            weights = (
                torch.tensor([0.25, 0.5, 0.25]).view(1, 1, 1, 3) if colours.across == 2 else torch.ones(1, 1, 1, 1)
            )
            smooth = torch.nn.functional.conv2d(smooth, weights) if colours.across == 2 else values[None, None]
            values = torch.nn.functional.avg_pool2d(smooth[..., :: colours.across], (colours.down, 1))[0, 0]
        plane[...] = values.round().numpy().astype(plane.dtype)
    return made


def test_the_equations_are_those_of_ffmpeg() -> None:
    pixels = (waves() * 255).round()
    for matrix, name in ((1, "itu709"), (5, "itu601")):
        rgb = av.VideoFrame.from_ndarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8), "rgb24")
        made = rgb.reformat(format="yuv444p", dst_colorspace=name, src_color_range="JPEG", dst_color_range="MPEG")
        colours = Colours.of(info("yuv444p", matrix), "yuv444p")
        for plane, expected in zip(planes_of(made, 8), colours.yuv(pixels / 255), strict=True):
            assert np.abs(plane - expected.numpy()).max() <= 2


@pytest.mark.parametrize("pixel_format", sorted(PLANAR))
@pytest.mark.parametrize("span", [1, 2])
def test_a_crop_has_the_colours_of_the_picture(pixel_format: str, span: int) -> None:
    colours = Colours.of(info(pixel_format, 1, span), pixel_format)
    planes = planes_of(frame(colours, pixel_format, waves()), colours.bits)
    onto = torch.tensor([[1.0, 0, -20], [0, 1.0, -10]], dtype=torch.float64)
    found, expected = cut(planes, colours, onto, 40), waves()[:, 10:50, 20:60]
    if pixel_format.startswith("gray"):
        expected = (
            expected * torch.tensor([colours.red, 1 - colours.red - colours.blue, colours.blue])[:, None, None]
        ).sum(0)
        expected = expected.expand(3, -1, -1)
    assert float((found - expected).abs().max()) < 0.03


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuvj420p"])
def test_a_crop_is_put_back_where_it_was_and_nowhere_else(pixel_format: str) -> None:
    colours = Colours.of(info(pixel_format), pixel_format)
    given = frame(colours, pixel_format, waves())
    planes = planes_of(given, colours.bits)
    before = [plane.copy() for plane in planes]
    angle = 0.4
    onto = 1.3 * torch.tensor(
        [[np.cos(angle), -np.sin(angle), -14], [np.sin(angle), np.cos(angle), -22]], dtype=torch.float64
    )
    crop = cut(planes, colours, onto, 48)
    share = torch.zeros(1, 48, 48)
    paste(planes, colours, crop, share, onto)
    assert all(np.array_equal(a, b) for a, b in zip(planes, before, strict=True))
    share[:, 8:40, 8:40] = 1
    paste(planes, colours, crop, share, onto)
    unit = 2 ** (colours.bits - 8)
    assert all(np.abs(a.astype(int) - b).max() <= 4 * unit for a, b in zip(planes, before, strict=True))
    paste(planes, colours, torch.ones(3, 48, 48), share, onto)
    changed = np.abs(planes[0].astype(int) - before[0]) > 8 * unit
    assert 0.8 < changed.sum() / (32 / 1.3) ** 2 < 1.3
    assert (planes[0][changed].max() >= 235 * unit - 1) and not changed[:, 70:].any()


def seam(share: torch.Tensor, size: int = 64) -> tuple[float, float]:
    """Steepest change of brightness, from pixel to pixel, on the rim of what a white crop changes, and inside of it."""
    colours = Colours.of(info("yuv444p", size=(160, 120)), "yuv444p")
    planes = planes_of(frame(colours, "yuv444p", waves(120, 160)), 8)
    before = planes[0].astype(float)
    onto = torch.tensor([[0.8, 0.1, -24], [-0.1, 0.8, -8]], dtype=torch.float64)
    paste(planes, colours, torch.ones(3, size, size), share, onto)
    change = planes[0] - before
    touched = torch.from_numpy(np.abs(change) > 0).float()[None, None]
    inner = -torch.nn.functional.max_pool2d(-touched, 5, 1, 2)[0, 0].numpy() > 0
    steep = np.maximum(np.abs(np.diff(change, axis=0, prepend=0)), np.abs(np.diff(change, axis=1, prepend=0)))
    return float(steep[~inner].max()), float(steep[inner].max())


def test_a_pasted_face_has_no_seam_which_a_hard_paste_has() -> None:
    rim, inside = seam(opacity(torch.ones(1, 1, 64, 64), "ffhq", 64)[0])
    assert rim < inside < 40
    rim, inside = seam(torch.ones(1, 64, 64))
    assert rim > 60 > inside


def test_what_shows_at_the_edge_of_a_crop_ends_there_and_faint_parts_change_nothing() -> None:
    colours = Colours.of(info("yuv444p"), "yuv444p")
    given = planes_of(frame(colours, "yuv444p", waves()), 8)
    onto = torch.tensor([[1.0, 0, -20.3], [0, 1.0, -10.3]], dtype=torch.float64)
    share = torch.full((1, 40, 40), 1e-4)
    share[:, :20, 5:30] = 1.0
    before = given[0].copy()
    paste(given, colours, torch.ones(3, 40, 40), share, onto)
    changed = given[0] != before
    assert changed[10:30, 25:50].all() and not changed[:10].any() and not changed[31:].any()
    assert not changed[:, :24].any() and not changed[:, 51:].any()


def test_a_crop_beyond_the_picture_repeats_its_border() -> None:
    colours = Colours.of(info("yuv420p"), "yuv420p")
    planes = planes_of(frame(colours, "yuv420p", waves()), 8)
    onto = torch.tensor([[1.0, 0, 30], [0, 1.0, 20]], dtype=torch.float64)
    crop = cut(planes, colours, onto, 64)
    assert float((crop[:, 0, 0] - waves()[:, 0, 0]).abs().max()) < 0.06
    paste(planes, colours, torch.ones(3, 64, 64), torch.ones(1, 64, 64), onto)
    assert planes[0][:40, :30].min() >= 234 and planes[0][50:, 40:].max() < 234
    far = torch.tensor([[1.0, 0, 3000], [0, 1.0, 20]], dtype=torch.float64)
    paste(planes, colours, torch.zeros(3, 64, 64), torch.ones(1, 64, 64), far)


def test_a_large_face_is_averaged_in_a_small_crop() -> None:
    colours = Colours.of(info("yuv444p", size=(400, 300)), "yuv444p")
    checks = torch.ones(3, 300, 400)
    checks[:, ::2, ::2] = 0
    checks[:, 1::2, 1::2] = 0
    planes = planes_of(frame(colours, "yuv444p", checks), 8)
    onto = torch.tensor([[0.1, 0, 0], [0, 0.1, 0]], dtype=torch.float64)
    assert float((cut(planes, colours, onto, 28) - 0.5).abs().max()) < 0.05


def test_pictures_that_do_not_say_their_colours_are_taken_for_the_usual() -> None:
    small, large = (Colours.of(info("yuv420p", 0, 0, size), "yuv420p") for size in ((640, 480), (1280, 720)))
    assert small.red == 0.299 and large.red == 0.2126 and not large.full
    assert Colours.of(info("yuvj420p", 0, 0), "yuvj420p").full
