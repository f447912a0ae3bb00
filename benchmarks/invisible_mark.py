"""The invisible mark in numbers: PSNR, detection and false alarms under attacks; and what other libraries reach.

    python benchmarks/invisible_mark.py PHOTOS [--marked 500] [--unmarked 5000] [--side 256] [--attacks A,B]
        [--compare 20]

PHOTOS is a folder of pictures; several crops of one count, each from another place at another size. Attacks: JPEG of
quality 75, half the size and back, a tenth of each side cut away, a third of each side kept (a tenth of the picture),
H.264 at CRF 28 (a moving picture of four frames, of which the last one is looked at). Detection means a probability of
chance of at most 1e-6, at the picture's own size. `--compare N` marks N larger crops with other libraries that need no
download as well, by a message of 48 bits, of which so many have to be right that chance is below 1e-6:
invisible-watermark and blind-watermark, where they are installed. Prints Markdown tables.
"""

import argparse
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from idn.provenance.watermark import mark
from idn.provenance.watermark_search import CHANCE, find_mark

BITS = 48
ENOUGH = next(n for n in range(BITS + 1) if sum(math.comb(BITS, k) for k in range(n, BITS + 1)) / 2**BITS < CHANCE)
"""Right bits of a message that chance reaches with a probability below 1e-6."""
MESSAGE = [int(bit) for bit in np.random.default_rng(0).integers(0, 2, BITS)]
Pixels = np.ndarray


def crops(files: list[Path], side: int, seed: int) -> Iterator[Pixels]:
    """Square crops of the files, without end: a random half to all of the shorter side, scaled to `side` pixels."""
    rng = np.random.default_rng(seed)
    while True:
        with Image.open(files[rng.integers(len(files))]) as opened:
            image = opened.convert("RGB")
        length = int(min(image.size) * rng.uniform(0.5, 1))
        left, top = (int(rng.integers(0, whole - length + 1)) for whole in image.size)
        yield np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + length, top + length)))


def jpeg(pixels: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def halved(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def cut(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(pixels[height // 20 + 1 : -(height // 20), width // 20 + 3 : -(width // 20) or None])


def third(pixels: Pixels) -> Pixels:
    height, width = (int(length * 0.316) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[height : 2 * height, width : 2 * width])


def film(pixels: Pixels, marked: Callable[[Pixels], Pixels] = lambda frame: frame) -> Pixels:
    """The last of four frames in which the scene moves by two pixels each; every frame is marked by itself."""
    file = io.BytesIO()
    height, width = (length - length % 2 for length in pixels.shape[:2])
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "28", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(4):
            frame = marked(np.ascontiguousarray(np.roll(pixels[:height, :width], 2 * index, 1)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][-1]


STILL = {"none": lambda x: x, "JPEG 75": jpeg, "half and back": halved, "a tenth cut away": cut, "a tenth kept": third}
"""Attacks on a picture that is marked before; that of video marks every frame."""
VIDEO = "H.264 CRF 28"


def attacked(
    pixels: Pixels, marker: Callable[[Pixels], Pixels], names: Sequence[str] = (*STILL, VIDEO)
) -> Iterator[tuple[str, Pixels]]:
    """A picture after each of these attacks, with its name."""
    once = marker(pixels)
    for name in names:
        yield name, film(pixels, marker) if name == VIDEO else STILL[name](once)


def psnr(one: Pixels, other: Pixels) -> float:
    return -10 * math.log10(max(np.square(one.astype(float) - other).mean() / 255**2, 1e-10))


def our_table(files: list[Path], marked: int, unmarked: int, side: int, names: Sequence[str]) -> None:
    """Detection and false alarms of our mark."""
    hits, alarms, least = (dict.fromkeys(names, 0.0) for _ in range(3))
    quality, lowest, highest = [], dict.fromkeys(names, math.inf), dict.fromkeys(names, 0.0)
    for pixels in islice(crops(files, side, 1), marked):
        quality.append(psnr(mark(pixels), pixels))
        for name, picture in attacked(pixels, mark, names):
            found = find_mark([picture], resized=False)
            hits[name] += found.found
            lowest[name] = min(lowest[name], found.score)
    for pixels in islice(crops(files, side, 2), unmarked):
        for name, picture in attacked(pixels, lambda x: x, names):
            found = find_mark([picture], resized=False)
            alarms[name] += found.found
            highest[name] = max(highest[name], found.score)
            least[name] = min(least[name] or 1, found.probability)
    print(
        f"\n{marked} marked and {unmarked} unmarked pictures of {side} px; PSNR {np.mean(quality):.1f} dB on average,"
    )
    print(f"{min(quality):.1f} dB at least.\n")
    print("| attack | found | lowest score | false alarms | highest score without | least probability without |")
    print("|---|---|---|---|---|---|")
    for name in names:
        found = f"{100 * hits[name] / marked:.1f} % | {lowest[name]:.1f}"
        print(f"| {name} | {found} | {alarms[name]:.0f} | {highest[name]:.1f} | {least[name]:.2g} |")


def others() -> Iterator[tuple[str, Callable[[Pixels], Pixels], Callable[[Pixels], bool]]]:
    """Name, marker and detector of every mark that is installed."""
    yield "IDN", mark, lambda picture: find_mark([picture], resized=False).found
    try:
        from imwatermark import WatermarkDecoder, WatermarkEncoder
    except ImportError:
        print("invisible-watermark is not installed")
    else:
        for method in ("dwtDct", "dwtDctSvd"):
            encoder = WatermarkEncoder()
            encoder.set_watermark("bits", MESSAGE)
            decoder = WatermarkDecoder("bits", BITS)
            yield (
                f"invisible-watermark {method}",
                lambda x, encoder=encoder, method=method: encoder.encode(x[..., ::-1].copy(), method)[..., ::-1].copy(),
                lambda x, decoder=decoder, method=method: _right(decoder.decode(x[..., ::-1].copy(), method)),
            )
    try:
        from blind_watermark import WaterMark, bw_notes
    except ImportError:
        print("blind-watermark is not installed")
        return
    bw_notes.close()

    def embed(x: Pixels) -> Pixels:
        tool = WaterMark(password_wm=1, password_img=1)
        tool.read_img(img=x[..., ::-1].copy())
        tool.read_wm(list(MESSAGE), mode="bit")
        return tool.embed().clip(0, 255).round().astype(np.uint8)[..., ::-1].copy()

    def extract(x: Pixels) -> bool:
        tool = WaterMark(password_wm=1, password_img=1)
        return _right(np.asarray(tool.extract(embed_img=x[..., ::-1].copy(), wm_shape=BITS, mode="bit")) > 0.5)

    yield "blind-watermark", embed, extract


def _right(bits: object) -> bool:
    return int((np.asarray(bits).astype(int) == MESSAGE).sum()) >= ENOUGH


def compared(files: list[Path], count: int, side: int = 448) -> None:
    """All marks on the same pictures."""
    pictures = list(islice(crops(files, side, 3), count))
    print(f"\n{count} pictures of {side} px\n\n| mark | PSNR, dB | {' | '.join([*STILL, VIDEO])} | ms to mark |")
    print("|---|---|" + "---|" * (len(STILL) + 2))
    for name, marker, detector in others():
        started = time.process_time()
        quality = np.mean([psnr(marker(pixels), pixels) for pixels in pictures])
        spent = 1000 * (time.process_time() - started) / count
        hits = dict.fromkeys([*STILL, VIDEO], 0)
        for pixels in pictures:
            for attack, picture in attacked(pixels, marker):
                try:
                    hits[attack] += detector(picture)
                except (AssertionError, ValueError, IndexError, RuntimeError):  # too small for its message
                    continue
        print(
            f"| {name} | {quality:.1f} | {' | '.join(f'{hits[a]}/{count}' for a in hits)} | {spent:.1f} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--marked", type=int, default=500)
    parser.add_argument("--unmarked", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--attacks", default=",".join([*STILL, VIDEO]), help="some of: %(default)s")
    parser.add_argument("--compare", type=int, default=20, help="pictures for the other libraries; 0 for none")
    options = parser.parse_args()
    files = sorted(path for path in options.photos.iterdir() if path.suffix in (".jpg", ".png"))
    if options.marked and options.unmarked:
        our_table(files, options.marked, options.unmarked, options.side, options.attacks.split(","))
    if options.compare:
        compared(files, options.compare)


if __name__ == "__main__":
    main()
