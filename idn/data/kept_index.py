"""Index cache: the index of a large folder of crops is made once, kept beside them, and checked by folder times."""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from idn.data.crop_index import CropIndex, read_index
from idn.data.folder_scan import MANY, scan_crops
from idn.errors import FileError
from idn.files.photos import changed_at, printable
from idn.files.user_cache import cache_folder

_HIDDEN, _FILE = ".crops", "index.safetensors"
"""Where the index lies in its folder; no look for pictures goes into a hidden one."""
_TICK, _COARSE_TICK = 50_000_000, 2_000_000_000
"""Within so many ns of a change, another one may show the same time; the latter where times are whole seconds."""


def open_index(root: Path) -> CropIndex:
    """The index of a folder of crops: the kept one while it holds, else from a look through the folder.

    Of a folder of many pictures it is kept, in `.crops` there or, where nothing can be written, in the user's cache.
    It holds while no folder of pictures was changed, which adding, removing or renaming a file does, and no manifest;
    a picture that was replaced in place goes unnoticed. Processes of one machine wait for the first that looks. Says
    on stderr what was checked or kept. Raises OptionError as `scan_crops` does.
    """
    real = root.resolve()
    mark = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    user = cache_folder() / "crops" / mark
    with FileLock(Path(tempfile.gettempdir(), f"idn-{os.getuid()}-{mark}.lock")):
        for place in (root / _HIDDEN, user):
            if (index := _kept(root, real, place / _FILE)) is not None:
                return index
        began = time.time_ns()
        index, watched = scan_crops(root)
        if len(index.names) < MANY:
            return index
        return _keep(root, index, watched, began, user)


def _kept(root: Path, real: Path, path: Path) -> CropIndex | None:
    """The index in a file, if there is one that still holds."""
    if not path.is_file():
        return None
    started = time.monotonic()
    try:
        index, watched = read_index(path)
    except FileError as error:
        print(f"{root}: the kept index is passed over: {error}", file=sys.stderr)
        return None
    changed = next((name or "the folder" for name, when in watched.items() if changed_at(real / name) != when), None)
    if changed is not None:
        print(printable(f"{root}: {changed} has changed since its index was made"), file=sys.stderr)
        return None
    took = time.monotonic() - started
    said = f"{len(index.names)} pictures by {path}, {len(watched)} folders and manifests unchanged ({took:.1f} s)"
    print(f"{root}: {said}; delete that after replacing a picture in place", file=sys.stderr)
    return index


def _keep(root: Path, index: CropIndex, watched: dict[str, int], began: int, user: Path) -> CropIndex:
    """The index, kept if the folder was at rest. began: when the look did, in ns."""
    real = root.resolve()
    newest = max(watched.values())
    tick = _TICK if any(when % 10**9 for when in watched.values()) else _COARSE_TICK
    if newest > began - tick or any(changed_at(real / name) != when for name, when in watched.items()):
        print(f"{root}: its index is not kept, because the folder is being changed", file=sys.stderr)
        return index
    for place in (root / _HIDDEN, user):
        try:
            place.mkdir(parents=True, exist_ok=True)
            kept = index.write(place / _FILE, _with_root(watched, real))
        except (OSError, SafetensorError):
            continue
        print(f"{root}: its index is kept in {place / _FILE}, the next run does not look through it", file=sys.stderr)
        return kept
    print(f"{root}: its index is not kept, because neither it nor {user} can be written", file=sys.stderr)
    return index


def _with_root(watched: Mapping[str, int], real: Path) -> dict[str, int]:
    """The same, with the folder as it is now that the place for its index is made."""
    return {**watched, "": changed_at(real)}
