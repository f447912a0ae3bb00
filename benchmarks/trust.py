"""Why the teacher's answers are weighed: students of a teacher that is wrong on purpose, with and without trust.

    python benchmarks/trust.py [--wrong 0.3] [--seeds 0,1,2] [--steps 240] [option=value ...]

Every run is one `idn.train` with `teacher.wrong_identity=WRONG`; all runs of a seed see the same pairs and the same
wrong answers. Trust also weakens the teacher as a whole (its mean is about 0.4 here), so the reweighted runs weigh
the terms that imitate the teacher FACTOR times more: all runs feel about the same pull, from different answers. Prints
swap gain against the exact swap, identity cosine and PSNR on held-out people, as a Markdown
table.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import idn
from idn.hardware import describe

SHOWN = {
    "val/swap_gain": "swap gain, dB",
    "val/identity_swap": "identity cosine",
    "val/psnr_truth": "PSNR to truth, dB",
}

IMITATING = {"face": 10, "pixel": 1, "perceptual": 10}
"""The terms of the default loss that trust scales, with their weights."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wrong", type=float, default=0.3, help="share of the teacher's answers that show somebody else"
    )
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--factor", type=float, default=2.5, help="on the imitating terms of the reweighted runs")
    parser.add_argument("--reference", action="store_true", help="also train with a teacher that is never wrong")
    arguments, options = parser.parse_known_args()

    options = [f"trainer.max_steps={arguments.steps}", f"trainer.val_check_interval={arguments.steps}", *options]
    cases = {"never wrong, reweight=none": ["reweight=none", "teacher.wrong_identity=0"]} if arguments.reference else {}
    heavier = [f"loss.weights.{term}={weight * arguments.factor}" for term, weight in IMITATING.items()]
    for variant in ("none", "identity"):
        name = f"{arguments.wrong:.0%} wrong, reweight={variant}"
        weights = heavier if variant == "identity" else []
        cases[name] = [f"reweight={variant}", f"teacher.wrong_identity={arguments.wrong}", *weights]

    results: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds.split(","):
            for index, (name, overrides) in enumerate(cases.items()):
                out = Path(folder) / f"{seed}_{index}"
                with redirect_stdout(sys.stderr):
                    result = idn.train([f"seed={seed}", f"hydra.run.dir={out}", *options, *overrides])
                results[name].append(result.metrics)
                shown = "  ".join(f"{text} {results[name][-1][key]:.3f}" for key, text in SHOWN.items())
                print(f"seed {seed}  {name}: {shown}", file=sys.stderr, flush=True)

    print(f"{describe()}; {' '.join(options)}\n")
    print("| run | " + " | ".join(f"{text} (seeds {arguments.seeds})" for text in SHOWN.values()) + " |")
    print("|---|" + "---|" * len(SHOWN))
    for name, runs in results.items():
        cells = []
        for key in SHOWN:
            values = [run[key] for run in runs]
            cells.append(f"**{statistics.mean(values):.3f}** ({', '.join(f'{value:.3f}' for value in values)})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
