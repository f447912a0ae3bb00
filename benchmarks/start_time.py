"""Start: the processor time that commands spend before they begin, and on importing what.

    python benchmarks/start_time.py [OTHER_CHECKOUT ...]

One row per command, one column per checkout, this one first: user seconds of the whole process. What is trained is a
single step, whose own time is the same everywhere. Then the packages that `idn train` imports, by their own time.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

STEP = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.max_steps=1"]
STEP += ["trainer.val_check_interval=1", "trainer.accelerator=cpu", "hydra.run.dir=run"]
COMMANDS = [
    ["--help"],
    ["trian"],
    ["train", "--help"],
    ["train", "trainer.max_stepz=3"],
    ["teachers"],
    ["train", *STEP],
]
SHOWN = 12


def run(checkout: Path, words: list[str], *flags: str) -> tuple[float, str]:
    """User seconds of one command, and what it wrote to stderr."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        before = os.times().children_user
        command = [sys.executable, *flags, "-m", "idn", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return os.times().children_user - before, done.stderr


def imports(checkout: Path) -> Counter[str]:
    """By package, the seconds that `idn train` spends on importing its modules."""
    found: Counter[str] = Counter()
    for line in run(checkout, ["train", *STEP], "-X", "importtime")[1].splitlines():
        if timed := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)", line):
            found[timed[2]] += int(timed[1]) / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("others", nargs="*", type=Path, metavar="OTHER_CHECKOUT")
    checkouts = [Path(__file__).parents[1], *(path.resolve() for path in parser.parse_args().others)]
    table = Table(title="user seconds of a command", title_justify="left")
    spent = Table(title="seconds of imports of idn train", title_justify="left")
    for shown in (table, spent):
        shown.add_column("command" if shown is table else "package")
        for checkout in checkouts:
            shown.add_column(str(checkout), justify="right")
    for words in COMMANDS:
        run(checkouts[0], words)  # files are read once before anybody is timed
        name = "idn train, one step" if words[0] == "train" and len(words) > 2 else f"idn {' '.join(words)}"
        table.add_row(name, *(f"{run(checkout, words)[0]:.2f}" for checkout in checkouts))
    found = [imports(checkout) for checkout in checkouts]
    for package, _ in sum(found, Counter()).most_common(SHOWN):
        spent.add_row(package, *(f"{times[package]:.2f}" for times in found))
    spent.add_row("all", *(f"{sum(times.values()):.2f}" for times in found))
    Console().print(table, spent)


if __name__ == "__main__":
    main()
