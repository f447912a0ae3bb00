"""What each part of the recipe for photographs brings: one change at a time, judged by encoders that taught nobody.

    python benchmarks/photographs.py CROPS --encoder mobilefacenet.pt [--steps 300] [--seeds 0,1] [option=value ...]
        [--row "NAME: option=value ..."] [--recogniser "recogniser=mobilefacenet_512 recogniser.weights=FILE"]

CROPS: a folder that `idn align` made. Every run is `experiment=photos_rehearsal` with the same number of steps, the
same people held out and the same pairs; the table tells what a step cost. Students, teacher and the untouched target
are judged by `idn eval` on the people held out: by dlib, and by the second recogniser where one is given. Prints a
Markdown table, means and the seeds in brackets, and where the pictures lie. `--row` adds rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import idn
from idn.hardware import describe

ROWS = {
    "experiment=photos_rehearsal": [],
    "pairs of any pose": ["data.pose_difference=null"],
    "a fifth of the pairs are a photograph with itself": ["data.same_ratio=0.2", "data.same_photograph=true"],
    "an optimizer that remembers longer": ["optim.betas=[0.9,0.99]"],
    "a source for every target": ["data.targets_per_identity=1"],
    "pictures as they are": ["data.augment=null"],
    "losses of the paper": ["loss=paper"],
}
SHOWN = {
    "retrieval": "right person first",
    "identity": "identity",
    "identity_target": "like the target",
    "feature_gain": "feature gain, dB",
    "detail_correlation": "detail",
    "sharpness_ratio": "sharpness",
}
"""Metrics of the judge's table."""
SECOND = {"retrieval": "right person first, second recogniser", "identity": "identity, second recogniser"}
TEACHER, COPY = "blend", "target_itself"


def main() -> None:
    """Train, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--encoder", type=Path, required=True, help="weights of encoder=mobilefacenet, which teaches")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", default="0,1", help="comma-separated")
    parser.add_argument("--row", action="append", default=[], help="NAME: option=value ...")
    parser.add_argument("--recogniser", default="", help="options of a second judge")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps the runs, and goes on with them")
    arguments, options = parser.parse_known_args()
    rows = ROWS | {name.strip(): words.split() for name, _, words in (row.partition(":") for row in arguments.row)}
    out = arguments.out or Path(tempfile.mkdtemp(prefix="photographs_"))
    seeds = arguments.seeds.split(",")
    shared = ["encoder=mobilefacenet", f"encoder.weights={arguments.encoder.resolve()}"]
    data = [f"data.root={arguments.crops.resolve()}", "data.seed=0", *options]  # the same pairs for every seed
    students, costs = {}, {}
    for number, words in enumerate(rows.values()):
        for seed in seeds:
            folder = out / f"{number}_seed{seed}"
            costs[number, seed] = train(folder, arguments.steps, [*shared, *data, *words, f"seed={seed}"])
            students[f"row{number}_seed{seed}"] = folder / "student.safetensors"
    judged = judge(out / "judged", arguments.crops, [*shared, "recogniser=dlib"], students)
    again = None
    if arguments.recogniser:
        again = judge(out / "judged_again", arguments.crops, [*shared, *arguments.recogniser.split()], students)
    print(f"{describe()}; {arguments.steps} steps, {' '.join(options) or 'defaults'}; pictures: {out}/*/pictures\n")
    show(rows, seeds, costs, judged, again)


def train(folder: Path, steps: int, words: Sequence[str]) -> float:
    """Train one student, unless it is there. Returns seconds of processor time per step, validation included."""
    kept = folder / "seconds_per_step.json"
    if kept.exists():
        return json.loads(kept.read_text())
    start = time.process_time()
    with redirect_stdout(sys.stderr):
        length = [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}"]
        idn.train(["experiment=photos_rehearsal", *words, *length, "data.workers=0", f"hydra.run.dir={folder}"])
    spent = (time.process_time() - start) / steps
    kept.write_text(json.dumps(spent))
    return spent


def judge(out: Path, crops: Path, words: Sequence[str], students: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """The means that `idn eval` finds, by metric and method."""
    files = ",".join(f"{name}:{path.resolve()}" for name, path in students.items())
    command = [sys.executable, "-m", "idn", "eval", f"out={out}", "protocol=folder", f"protocol.root={crops.resolve()}"]
    command += [*words, f"students={{{files}}}", f"teachers=[{TEACHER}]"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    means: dict[str, dict[str, float]] = {}
    for method in json.loads((out / "metrics.json").read_text())["methods"]:
        for name, found in method["values"].items():
            means.setdefault(name, {})[method["name"]] = found["value"]
    return means


def show(
    rows: Mapping[str, Sequence[str]],
    seeds: Sequence[str],
    costs: Mapping[tuple[int, str], float],
    judged: Mapping[str, Mapping[str, float]],
    again: Mapping[str, Mapping[str, float]] | None,
) -> None:
    """Print the table."""
    columns = [(text, judged[key]) for key, text in SHOWN.items()]
    columns += [(text, again[key]) for key, text in SECOND.items()] if again else []
    print("| row | s per step | " + " | ".join(text for text, _ in columns) + " |\n|---|---|" + "---|" * len(columns))
    for name in (TEACHER, COPY):
        print(f"| {name} | | " + " | ".join(f"{column.get(name, float('nan')):.3f}" for _, column in columns) + " |")
    for number, name in enumerate(rows):
        cells = [f"{statistics.mean(costs[number, seed] for seed in seeds):.2f}"]
        for _, column in columns:
            values = [column.get(f"row{number}_seed{seed}", float("nan")) for seed in seeds]
            cells.append(f"**{statistics.mean(values):.3f}** ({', '.join(f'{value:.3f}' for value in values)})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
