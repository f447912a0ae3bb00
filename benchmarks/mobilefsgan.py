"""MobileFSGAN on drawn faces: what its smaller pictures bring, and which supervision suits which student.

    python benchmarks/mobilefsgan.py scales [--steps 300] [--seeds 0,1,2] [option=value ...]
    python benchmarks/mobilefsgan.py supervision [--seconds 240] [--seeds 0] [--pairs 100] [option=value ...]

`scales` trains `experiment=mobilefsgan_small` with its losses at three sizes and at the largest alone, for as many
steps, and prints the curves of held-out people. `supervision` trains MobileFaceSwap and MobileFSGAN by distillation,
from triplets and from both: SECONDS of processor time each, after a few steps were timed, and prints what a frame
costs; then it runs `idn eval protocol=procedural` on all of them, and `protocol=videos` on clips of drawn people who
move. Half of the pairs know their exact swap; the teacher, who is asked for the others or for all, shows a stranger in
WRONG of his answers. Runs, pictures and reports stay in the folder that is named.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from equal_time import steps_of, train
from PIL import Image
from width import cost

from idn.data.procedural import FaceRenderer
from idn.hardware import describe
from idn.images import to_uint8

LARGEST_ALONE = [
    "loss.weights.identity_half=0",
    "loss.weights.identity_quarter=0",
    "loss.terms.adversarial.scales=[1.0,0.0,0.0]",
    "distillation.scales=[0.5,0.0,0.0]",
]
FSGAN = ["experiment=mobilefsgan_small", "trainer.accelerator=cpu"]
IDN = ["data.size=64", "data.truth_share=0.5", "trainer.accelerator=cpu"]
SUPERVISIONS = ("distillation", "triplets", "both")
SHOWN = {
    "val/swap_gain": "swap gain, dB",
    "val/identity_swap": "identity",
    "val/identity_recogniser": "identity, other encoder",
    "val/psnr_truth": "PSNR to truth, dB",
}


def curve(out: Path, name: str) -> list[float]:
    """The values of a metric at every validation of a run."""
    with (out / "metrics/metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def compare_scales(arguments: argparse.Namespace, options: Sequence[str], out: Path) -> None:
    """The curves with and without the losses at the two smaller sizes."""
    rows = {"three": ("three sizes", []), "one": ("the largest alone", LARGEST_ALONE)}
    every = max(1, arguments.steps // 4)
    print(f"{describe()}; {arguments.steps} steps, seeds {arguments.seeds}; {' '.join(options)}\n", flush=True)
    print("| losses at | seed | " + " | ".join(f"{text}, every {every} steps" for text in SHOWN.values()) + " |")
    print("|---|---:|" + "---|" * len(SHOWN), flush=True)
    for seed in arguments.seeds.split(","):
        for short, (name, words) in rows.items():
            folder = out / f"{short}_{seed}"
            train(arguments.steps, every, folder, [*FSGAN, *options, *words, f"seed={seed}"])
            cells = [", ".join(f"{value:.3f}" for value in curve(folder, key)) for key in SHOWN]
            print(f"| {name} | {seed} | " + " | ".join(cells) + " |", flush=True)


def compare_supervisions(arguments: argparse.Namespace, options: Sequence[str], out: Path) -> None:
    """Both students under every supervision, judged by the same protocol."""
    seeds, students, table = arguments.seeds.split(","), {}, []
    wrong = f"teacher.wrong_identity={arguments.wrong}"
    for student, base in {"mobilefaceswap": IDN, "mobilefsgan": FSGAN}.items():
        for supervision in SUPERVISIONS:
            name = f"{student}_{supervision}"
            words = [*base, *options, f"supervision={supervision}", wrong]
            steps = steps_of(arguments.seconds, out / name, words)
            runs = [train(steps, steps, out / f"{name}_{seed}", [*words, f"seed={seed}"]) for seed in seeds]
            students |= {f"{name}_{seed}": out / f"{name}_{seed}/student.safetensors" for seed in seeds}
            cells = []
            for key in SHOWN:
                values = [run[key] for run in runs]
                cells.append(f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})")
            table.append(f"| {student} | {supervision} | {steps} | " + " | ".join(cells) + " |")
            print(table[-1], file=sys.stderr, flush=True)
    about = f"{arguments.seconds:g} s of processor time per run, seeds {arguments.seeds}, {arguments.wrong:.0%} wrong"
    print(f"{describe()}; {about}; {' '.join(options)}\n")
    print("| student | supervision | steps | " + " | ".join(SHOWN.values()) + " |")
    print("|---|---|---:|" + "---|" * len(SHOWN))
    print("\n".join(table), flush=True)
    listed = ",".join(f"{name}:{path}" for name, path in students.items())
    protocol = ["protocol=procedural", "protocol.size=64", f"protocol.pairs={arguments.pairs}"]
    for name, path in students.items():
        macs, count = cost(path)
        print(f"{name}: {macs / 1e6:.0f} million multiply-accumulates a frame, {count:,} parameters", flush=True)
    clips = draw_clips(out / "clips")
    videos = ["protocol=videos", f"protocol.root={clips}", "protocol.size=64", "protocol.template=ffhq"]
    videos += ["protocol.stored_template=ffhq", "encoder.photographs=true"]
    for name, words in {"eval": protocol, "eval_videos": videos}.items():
        command = [sys.executable, "-m", "idn", "eval", f"out={out / name}", f"students={{{listed}}}", *words]
        subprocess.run(command, check=True)


def draw_clips(folder: Path, clips: int = 6, frames: int = 24) -> Path:
    """Drawn people who move smoothly from one situation by a second to a third, a folder of frames of 64 px each."""
    renderer, times = FaceRenderer(glasses=0, occluders=0), torch.linspace(0, 1, frames)[:, None]
    for number in range(clips):
        generator = torch.Generator().manual_seed(900 + number)
        who = renderer.sample_identity(1, generator).expand(frames, -1)
        begin, by, end = renderer.sample_attributes(3, generator)
        how = begin * (1 - times) ** 2 + 2 * by * times * (1 - times) + end * times**2
        place = folder / f"{number:03d}"
        place.mkdir(parents=True, exist_ok=True)
        for at, pixels in enumerate(to_uint8(renderer.render(who, how, 64).image)):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place / f"{at:04d}.png")
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scales", "supervision"])
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--steps", type=int, default=300, help="of every run, for scales")
    parser.add_argument("--seconds", type=float, default=240, help="of processor time per run, for supervision")
    parser.add_argument("--pairs", type=int, default=100, help="of the evaluation, for supervision")
    parser.add_argument("--wrong", type=float, default=0.3, help="share of the teacher's answers that show a stranger")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps the runs")
    arguments, options = parser.parse_known_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="mobilefsgan_"))
    (compare_scales if arguments.what == "scales" else compare_supervisions)(arguments, options, out)
    print(f"\nruns and their pictures: {out}")


if __name__ == "__main__":
    main()
