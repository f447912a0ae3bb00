"""How wide a student has to be: quality against multiply-accumulates, at equal processor time.

    python benchmarks/width.py [--widths 0.25,0.5,1,1.5,2] [--seconds 240] [--seeds 0] [--plot FILE] [option=value ...]

A few steps of every width are timed first; each then trains for as many steps as fit into SECONDS of processor time.
Prints, as a Markdown table, what a frame of one person costs at the size of the training pictures, and what held-out
people say. `--plot` draws the table, and needs matplotlib.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from equal_time import steps_of, train

from idn.hardware import describe
from idn.students.count import conv_macs, parameters
from idn.students.student_file import load_student, read_student_file

SHOWN = {
    "val/swap_gain": "swap gain, dB",
    "val/feature_gain": "eyes and mouth, dB",
    "val/identity_swap": "identity",
    "val/identity_recogniser": "identity, second encoder",
    "val/detail_correlation": "detail",
}
DRAWN = ("val/swap_gain", "val/identity_recogniser", "val/detail_correlation")


def cost(path: Path) -> tuple[int, int]:
    """Multiply-accumulates of a frame and parameters, of the network of one person."""
    deployment, size = load_student(path).eval().deployment(), read_student_file(path).size
    network = deployment.plain(deployment.anybody())
    return conv_macs(network, torch.rand(1, 3, size, size)), parameters(network)


def plot(path: Path, rows: list[tuple[float, int, dict[str, list[float]]]], about: str) -> None:
    """One panel per metric of DRAWN: its mean over multiply-accumulates, the seeds as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(DRAWN), figsize=(11, 3.2))
    for key, axes in zip(DRAWN, panels, strict=True):
        macs = [row[1] / 1e6 for row in rows]
        axes.plot(macs, [statistics.mean(row[2][key]) for row in rows], marker="o")
        for (width, _, values), x in zip(rows, macs, strict=True):
            axes.plot([x] * len(values[key]), values[key], ".", color="gray")
            axes.annotate(f"{width:g}", (x, statistics.mean(values[key])), (4, -10), textcoords="offset points")
        axes.set(title=SHOWN[key], xlabel="million multiply-accumulates", xscale="log")
        axes.grid(alpha=0.3)
    figure.suptitle(about, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="0.25,0.5,1,1.5,2", help="comma-separated")
    parser.add_argument("--seconds", type=float, default=240, help="of processor time per run")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--plot", type=Path, default=None, help="file for a plot, such as width.svg")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps the runs")
    arguments, options = parser.parse_known_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="width_"))
    about = f"{describe()}; {arguments.seconds:g} s of processor time per run"
    print(f"{about}; {' '.join(options) or 'defaults'}\n")
    print("| width | parameters | million MACs | steps | " + " | ".join(SHOWN.values()) + " |")
    print("|---:|---:|---:|---:|" + "---:|" * len(SHOWN), flush=True)
    rows = []
    for width in map(float, arguments.widths.split(",")):
        words = [*options, f"student.width={width:g}"]
        steps = steps_of(arguments.seconds, out / f"{width:g}", words)
        folders = {seed: out / f"{width:g}_seed{seed}" for seed in arguments.seeds.split(",")}
        runs = [train(steps, steps, path, [*words, f"seed={seed}"]) for seed, path in folders.items()]
        values = {key: [run[key] for run in runs] for key in SHOWN}
        macs, count = cost(next(iter(folders.values())) / "student.safetensors")
        rows.append((width, macs, values))
        cells = " | ".join(f"{statistics.mean(values[key]):.3f}" for key in SHOWN)
        print(f"| {width:g} | {count:,} | {macs / 1e6:.0f} | {steps} | {cells} |", flush=True)
    if arguments.plot is not None:
        plot(arguments.plot, rows, about)


if __name__ == "__main__":
    main()
