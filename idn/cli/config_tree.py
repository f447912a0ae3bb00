"""Where the config tree lies, and what its groups tell of each other."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def conf_dir() -> Path:
    """The config tree: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


def asks_teacher(config: "DictConfig") -> bool:
    """Whether the supervision of a verb's config, if it has one, lacks a teacher and the trust in it: it is partial."""
    return config.get("supervision") is None or bool(config.supervision.get("_partial_"))
