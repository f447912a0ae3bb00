"""Contact sheet of `idn swap` on hard photographs: several faces, turned, tiny, cut by the border; and their seams.

    python benchmarks/swap_photos.py --weights STUDENT --source PHOTO --faces FOLDER --detector yunet_final.pth
        --encoder-weights FILE --out sheet.jpg [--crops 224]

Puts photographs of faces (published MobileFaceNet students) onto larger canvases, swaps all of them, and draws every
canvas before and after. Prints how many were swapped of those that are there, and how steep the change is on the rim of
what was pasted beside just inside of it: a seam would be steeper.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from idn.data.alignment.detector import YuNetDetector
from idn.data.alignment.every_face import EveryFace
from idn.encoders.mobilefacenet import MobileFaceNetEncoder
from idn.students.student_file import read_student_file
from idn.swap.choose import make_choice
from idn.swap.models.student import open_student
from idn.swap.photo import SwappedPhoto, Swapping, swap_photo
from idn.swap.sources import read_sources

WIDTH, HEIGHT = 960, 640


def canvases(photos: list[Image.Image]) -> dict[str, tuple[Image.Image, int]]:
    """Name -> a picture, and how many faces it shows."""

    def scene(*faces: tuple[int, int, int, float]) -> tuple[Image.Image, int]:
        canvas = photos[-1].resize((WIDTH, HEIGHT)).filter(ImageFilter.GaussianBlur(60))
        for number, (x, y, side, angle) in enumerate(faces):
            face = photos[number].resize((side, side), Image.Resampling.LANCZOS)
            mask = Image.new("L", face.size, 255).rotate(angle, expand=True)
            canvas.paste(face.rotate(angle, Image.Resampling.BICUBIC, expand=True), (x, y), mask)
        return canvas, len(faces)

    return {
        "several": scene((20, 30, 280, 0), (330, 180, 300, 0), (660, 60, 260, 0), (700, 380, 180, 0)),
        "turned": scene((20, 60, 300, 30), (480, 40, 260, 90), (700, 330, 220, -30), (380, 380, 200, 180)),
        "tiny": scene((60, 60, 64, 0), (300, 200, 80, 0), (560, 420, 100, 0), (800, 100, 128, 20)),
        "cut": scene((-90, 60, 300, 0), (340, -80, 280, 0), (740, 420, 300, 0)),
    }


def seam(before: torch.Tensor, done: SwappedPhoto) -> list[float]:
    """For every face, the steepness of the change on the rim of the mask over that just inside; above 1 is a seam."""
    change = (done.pixels.float() - before.float()).abs().mean(0)
    steep = torch.zeros_like(change)
    steep[1:] = change.diff(dim=0).abs()
    steep[:, 1:] = torch.maximum(steep[:, 1:], change.diff(dim=1).abs())
    found = []
    for one in done.swapped:
        left, top, right, bottom = (int(v) for v in one.face.box.tolist())
        reach = (right - left) // 2
        window = (slice(max(0, top - reach), bottom + reach), slice(max(0, left - reach), right + reach))
        touched = (change[window] > 0).float()[None, None]
        inside = -torch.nn.functional.max_pool2d(-touched, 5, 1, 2)
        deeper = -torch.nn.functional.max_pool2d(-inside, 9, 1, 4)
        rim, beside = (touched > inside)[0, 0], (inside > deeper)[0, 0]
        if rim.any() and beside.any():
            found.append(float(steep[window][rim].mean() / steep[window][beside].mean().clamp_min(1e-6)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "source", "faces", "detector", "encoder-weights", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--crops", type=int, help="pixels of a face's crop; those of the training without it")
    given = parser.parse_args()
    encoder = MobileFaceNetEncoder(given.encoder_weights, crop_template=read_student_file(Path(given.weights)).template)
    model = open_student(Path(given.weights), encoder, torch.device("cpu"), size=given.crops)
    detector = EveryFace(YuNetDetector(given.detector))
    sources = read_sources(model, [[Path(given.source)]], False, lambda: detector)
    swapping = Swapping(model, sources, make_choice("all", 1))
    photos = [Image.open(path).convert("RGB") for path in sorted(Path(given.faces).glob("*.jpg"))[:5]]
    sheet = Image.new("RGB", (2 * WIDTH, HEIGHT * 4), "white")
    for row, (name, (canvas, there)) in enumerate(canvases(photos).items()):
        pixels = torch.from_numpy(np.array(canvas)).permute(2, 0, 1).contiguous()
        done = swap_photo(pixels, detector, swapping)
        ratios = ", ".join(f"{ratio:.2f}" for ratio in seam(pixels, done))
        print(
            f"{name}: {len(done.swapped)} swapped of {there}, {done.aside} turned aside; rim over inside {ratios}",
            flush=True,
        )
        sheet.paste(canvas, (0, row * HEIGHT))
        sheet.paste(Image.fromarray(done.pixels.permute(1, 2, 0).numpy()), (WIDTH, row * HEIGHT))
    sheet.save(given.out, quality=90)


if __name__ == "__main__":
    main()
