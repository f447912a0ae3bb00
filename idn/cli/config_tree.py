"""Where the config tree lies."""

from pathlib import Path


def conf_dir() -> Path:
    """The config tree: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"
