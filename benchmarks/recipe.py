"""What each part of the training recipe brings, at equal processor time.

    python benchmarks/recipe.py [--seconds 240] [--seeds 0,1,2] [--row "NAME: option=value ..."] [option=value ...]

A few steps of every row are timed first; each then trains for as many steps as fit into SECONDS of processor time. All
rows of a seed see the same people. Prints swap gain, the gain around eyes and mouth, identity and the correlation of
detail on held-out people as a Markdown table, and where the picture of every row lies. `--row` adds rows.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from equal_time import steps_of, train

from idn.hardware import describe

SAME = "data.same_ratio=0.2"
USUAL = "optim.betas=[0.9,0.99]"
ONCE = "repeats=1"
ROWS = {
    "losses of the paper, a source for every target": ["loss=paper", "data.targets_per_identity=1", SAME, USUAL, ONCE],
    "losses of the generated face": ["data.targets_per_identity=1", SAME, USUAL, ONCE],
    "the same, four targets per source": [SAME, USUAL, ONCE],
    "the same, two people in every pair": [USUAL, ONCE],
    "the same, an optimizer that forgets sooner": [ONCE],
    "the same, every batch in three steps (the default)": [],
}
SHOWN = {
    "val/swap_gain": "swap gain, dB",
    "val/feature_gain": "eyes and mouth, dB",
    "val/ssim_truth": "SSIM",
    "val/identity_swap": "identity",
    "val/identity_recogniser": "identity, second encoder",
    "val/detail_correlation": "detail",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240, help="of processor time per run")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--row", action="append", default=[], help="NAME: option=value ...")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps the runs")
    arguments, options = parser.parse_known_args()
    rows = ROWS | {name.strip(): words.split() for name, _, words in (row.partition(":") for row in arguments.row)}
    out = arguments.out or Path(tempfile.mkdtemp(prefix="recipe_"))
    print(f"{describe()}; {arguments.seconds:g} s of processor time per run; {' '.join(options) or 'defaults'}\n")
    print("| recipe | steps | " + " | ".join(f"{text} (seeds {arguments.seeds})" for text in SHOWN.values()), end="")
    print(" | pictures |\n|---|---:|" + "---|" * (len(SHOWN) + 1), flush=True)
    for index, (name, words) in enumerate(rows.items()):
        steps = steps_of(arguments.seconds, out / f"{index}", [*options, *words])
        runs = [
            train(steps, steps, out / f"{index}_seed{seed}", [*options, *words, f"seed={seed}"])
            for seed in arguments.seeds.split(",")
        ]
        cells = []
        for key in SHOWN:
            values = [run[key] for run in runs]
            cells.append(f"**{statistics.mean(values):.3f}** ({', '.join(f'{value:.3f}' for value in values)})")
        print(f"| {name} | {steps} | " + " | ".join(cells) + f" | {out}/{index}_seed*/pictures |", flush=True)


if __name__ == "__main__":
    main()
