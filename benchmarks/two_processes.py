"""Two processes (DDP, gloo) against one with the same global batch: what held-out people look like along both runs.

    python benchmarks/two_processes.py [--steps 120] [--points 6] [option=value ...]

The default run, shortened: once by `torchrun --nproc-per-node=2`, each process with `data.batch` pairs per step, and
once by one process that accumulates two such batches per step. Both see the same pairs. Prints both at every
validation, their largest difference and the seconds that each took, as a Markdown table.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from idn.hardware import describe

SHOWN = {
    "val/loss": "loss",
    "val/swap_gain": "swap gain, dB",
    "val/identity_swap": "identity cosine",
    "val/psnr_teacher": "PSNR to teacher, dB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--points", type=int, default=6, help="validations along each run")
    arguments, options = parser.parse_known_args()

    every = max(1, arguments.steps // arguments.points)
    words = ["trainer.accelerator=cpu", f"trainer.max_steps={arguments.steps}", f"trainer.val_check_interval={every}"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with tempfile.TemporaryDirectory() as folder:
        two, spent = train(torchrun, [*words, *options, "trainer.devices=2"], Path(folder, "two"))
        one, alone = train([], [*words, *options, "trainer.accumulate_grad_batches=2"], Path(folder, "one"))

    print(f"{describe()}; {' '.join([*words[1:], *options])}\n")
    print("| step | " + " | ".join(f"{text}: two, one" for text in SHOWN.values()) + " |")
    print("|---|" + "---|" * len(SHOWN))
    for step in one:
        print(f"| {step} | " + " | ".join(f"{two[step][key]:.5f}, {one[step][key]:.5f}" for key in SHOWN) + " |")
    furthest = {text: max(abs(two[step][key] - one[step][key]) for step in one) for key, text in SHOWN.items()}
    print("| furthest apart | " + " | ".join(f"{value:.1e}" for value in furthest.values()) + " |")
    print(f"\ntwo processes: {spent:.0f} s; one: {alone:.0f} s")


def train(launcher: Sequence[str], options: Sequence[str], out: Path) -> tuple[dict[int, dict[str, float]], float]:
    """The metrics of a run by step, and the seconds that it took."""
    begin = time.perf_counter()
    command = [sys.executable, *launcher, "-m", "idn", "train", *options, f"hydra.run.dir={out}"]
    subprocess.run(command, stdout=sys.stderr, check=True)
    with (out / "metrics/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return {int(row["step"]) + 1: {key: float(row[key]) for key in SHOWN} for row in rows}, time.perf_counter() - begin


if __name__ == "__main__":
    main()
