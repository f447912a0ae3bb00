"""The invisible mark: what it costs, what it survives, and that it is found nowhere else."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from idn.provenance import pattern
from idn.provenance.watermark import BLOCK, LIMIT, mark
from idn.provenance.watermark_search import CHANCE, find_mark


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Pictures with calm and lively parts, 256 px: noise in octaves, as clouds have it, and an edge."""
    pictures = []
    for seed in range(3):
        rng, total = np.random.default_rng(seed), np.zeros((256, 256, 3))
        for side in (3, 9, 30, 100):
            noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            total += (resized(noise, 256, 256) - 128.0) * (4 / side) ** 0.8
        total[:, 90 + 20 * seed :] += 60
        pictures.append((total * 0.6 + 110).clip(0, 255).astype(np.uint8))
    return pictures


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * np.log10(np.square(one.astype(float) - other).mean() / 255**2)


def stored(pixels: np.ndarray, kind: str, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=quality)
    return np.array(Image.open(file))


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def test_it_cannot_be_seen(pictures: list[np.ndarray]) -> None:
    lively = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for picture in (*pictures, lively):
        assert psnr(mark(picture), picture) > 43
        assert np.abs(mark(picture).astype(int) - picture).max() <= 12


def test_it_is_found_and_nothing_else_is(pictures: list[np.ndarray]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for picture in (*pictures, noise, np.full((256, 256, 3), 90, np.uint8)):
        assert find_mark([mark(picture)]).found
        unmarked = find_mark([picture], resized=False)
        assert not unmarked.found and unmarked.probability > 0.01
    assert find_mark([mark(pictures[0])]).probability < CHANCE / 1e6
    assert not find_mark([pictures[0]]).found


@pytest.mark.parametrize(
    "change",
    [
        lambda x: stored(x, "JPEG", 75),
        lambda x: stored(x, "WEBP", 75),
        lambda x: resized(resized(x, 128, 128), 256, 256),
        lambda x: np.ascontiguousarray(x[13:-13, 11:-15]),
        lambda x: stored(np.ascontiguousarray(x[5:, 3:]), "JPEG", 75),
        lambda x: (x * 0.7 + 20).astype(np.uint8),
        lambda x: x[..., ::-1],
        lambda x: np.rot90(x),
        lambda x: x[:, ::-1],
        lambda x: np.rot90(x[::-1]),
    ],
    ids=["jpeg", "webp", "halved", "crop", "crop jpeg", "dimmed", "colours", "turned", "mirrored", "both"],
)
def test_it_survives(pictures: list[np.ndarray], change: object) -> None:
    assert find_mark([change(mark(pictures[1]))], resized=False).found


@pytest.mark.parametrize("scale", [0.5, 1.3])
def test_it_is_found_at_other_sizes_which_are_told(pictures: list[np.ndarray], scale: float) -> None:
    large = resized(pictures[0], 600, 600)
    side = round(600 * scale)
    finding = find_mark([resized(mark(large), side, side)])
    assert finding.found
    assert finding.scale == pytest.approx(scale, rel=0.005)


def test_frames_of_a_video_are_taken_together(pictures: list[np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    background = resized(pictures[0], 320, 320)
    frames = []
    for index in range(12):  # the scene moves, the mark stays; each frame is buried under noise
        marked = mark(np.ascontiguousarray(background[2 * index : 2 * index + 128, index : index + 128]))
        frames.append((marked + rng.normal(0, 14, marked.shape)).clip(0, 255).astype(np.uint8))
    alone = find_mark(frames[:1], resized=False).score
    together = find_mark(iter(frames), resized=False)
    assert together.found and together.score > alone + 2
    with pytest.raises(ValueError, match="one video"):
        find_mark([frames[0], frames[1][:64]])
    with pytest.raises(ValueError, match="no picture"):
        find_mark([])


def test_brightness_of_a_video_is_marked_like_a_picture(pictures: list[np.ndarray]) -> None:
    grey = pictures[0][..., 1]
    assert find_mark([mark(grey)]).found
    less = mark(grey, limited_range=True).astype(int) - grey
    ratio = np.square(less).mean() / np.square(mark(grey).astype(int) - grey).mean()
    assert ratio**0.5 == pytest.approx(219 / 255, abs=0.05)


def test_pixel_by_pixel(pictures: list[np.ndarray]) -> None:
    """The whole rule, written out as the clients in other languages have it."""
    picture = np.ascontiguousarray(pictures[0][:75, :90])
    side, tile = BLOCK // 4, pattern.tile().astype(int)
    strengths = {}
    for top in range(0, 75, BLOCK):
        for left in range(0, 90, BLOCK):
            rows = [min(top + 4 * i, 72) for i in range(side)]
            columns = [min(left + 4 * i, 88) for i in range(side)]
            bright = [int(np.array([77, 150, 29]) @ picture[r, c]) >> 8 for r in rows for c in columns]
            spread = np.sqrt((16 * sum(b * b for b in bright) - sum(bright) ** 2) / 256)
            strengths[top, left] = int(min(19 + 2.0 * spread, 48))
    share = min(1, LIMIT / (sum(s * s for s in strengths.values()) / len(strengths)) ** 0.5)
    expected = picture.astype(int)
    for y, x in np.ndindex(75, 90):
        strength = int(strengths[y - y % BLOCK, x - x % BLOCK] * share + 0.5)
        expected[y, x] += (tile[y % 128, x % 128] * strength + 256) >> 9
    np.testing.assert_array_equal(mark(picture), expected.clip(0, 255))


def test_the_pattern_is_the_one_that_other_programs_know() -> None:
    frequencies, phases = pattern.waves()
    assert len(frequencies) == 800
    assert phases[:4].tolist() == [106, 186, 67, 253]
    assert pattern.tile()[0, :6].tolist() == [-8, -53, -69, -49, -8, 28]
    assert np.square(pattern.tile().astype(int)).mean() ** 0.5 == pytest.approx(pattern.UNIT, abs=0.1)


def test_chance_is_bounded_for_any_picture() -> None:
    """With random keys, a score of z standard deviations is as rare as the bound says, also for textures."""
    rng = np.random.default_rng(3)
    amounts = rng.exponential(1, 800) * (rng.random(800) < 0.2)
    scores = np.cos(rng.random((20000, 800)) * 2 * np.pi) @ amounts / np.sqrt(np.square(amounts).sum() / 2)
    for z in (1.0, 2.0, 3.0):
        assert (scores >= z).mean() <= np.exp(-(z**2) / 2)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (9, 17), (64, 200)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 128, np.uint8)
    assert mark(picture).shape == picture.shape
    assert 0 < find_mark([picture]).probability <= 1


def test_a_video_can_wait_for_it() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    mark(frame)
    started = time.process_time()
    for _ in range(5):
        mark(frame)
    assert (time.process_time() - started) / 5 < 0.03  # 2 ms where nobody else works


def test_opacity_is_no_colour(pictures: list[np.ndarray]) -> None:
    opacity = np.arange(256, dtype=np.uint8)[None].repeat(256, 0)
    marked = mark(np.dstack([pictures[0], opacity]))
    np.testing.assert_array_equal(marked[..., 3], opacity)
    np.testing.assert_array_equal(marked[..., :3], mark(pictures[0]))
