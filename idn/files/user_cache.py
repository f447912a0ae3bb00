"""The user's cache folder: where copies, indices and converters stay between runs."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`idn` where the system keeps caches: %LOCALAPPDATA%, ~/Library/Caches, else $XDG_CACHE_HOME or ~/.cache."""
    home = Path.home()
    caches = {"win32": os.environ.get("LOCALAPPDATA", home / "AppData/Local"), "darwin": home / "Library/Caches"}
    return Path(caches.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "idn"
