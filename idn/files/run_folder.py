"""Run folder layout: names of a training run's checkpoints, the newest one, and whether a folder holds a run."""

from pathlib import Path

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints, in that of the run."""
LAST = "last.ckpt"
"""The newest state of a run that went on as it should."""
LAST_GOOD = "last_good.ckpt"
"""The last state of a run that was stopped, or that broke off before its weights were spoiled."""
BEST = "best"
"""Beginning of the names of weights that were best in a validation, which no run goes on with."""
RECORD, DIFF = "run.json", "run.diff"
"""How a run is made and from what, and what git had not committed then."""
SUMMARY = "summary.json"
"""What a run that has come to its end reached."""


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with which a run goes on. folder: of the run, or of its checkpoints. None if there is none."""
    places = (folder / CHECKPOINTS, folder)
    saved = [path for place in places for name in (LAST, LAST_GOOD) if (path := place / name).is_file()]
    return max(saved, key=lambda path: path.stat().st_mtime, default=None)


def states(folder: Path) -> list[Path]:
    """All checkpoints with which a run could go on, the newest first. folder: of the run, or of its checkpoints."""
    found = [
        path
        for place in (folder / CHECKPOINTS, folder)
        for path in place.glob("*.ckpt")
        if not path.name.startswith(BEST)
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def holds_run(folder: Path) -> bool:
    """Whether a run has left something there that another one would overwrite: a state to go on from, or its result."""
    return newest_checkpoint(folder) is not None or (folder / SUMMARY).is_file()
