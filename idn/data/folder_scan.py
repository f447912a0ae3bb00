"""Scan of a folder of face crops: which are usable, what is left out and why, and what a manifest knows of each."""

import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import track

from idn.data.alignment.manifest import NAME, KnownCrop, Settings, read_crops
from idn.data.crop_index import CropIndex, pack_index
from idn.errors import OptionError, UserError
from idn.files.photos import UnreadablePhoto, changed_at, digest, left_out, list_photos, photo_size

Found = TypeVar("Found")

_READERS = 8
"""Threads that look at files: disks and networks answer several at a time."""
_ENDS = 4096
"""Bytes at the beginning and at the end of a file by which it is compared first."""
_ABOVE = 3
"""Folders above one of crops in which its manifest may have stayed."""
MANY = 10_000
"""Pictures from which on a look takes long enough to be told of, and its result is worth keeping."""


class Scan(NamedTuple):
    """What a look through a folder of crops found."""

    index: CropIndex
    """Of the usable pictures."""
    watched: dict[str, int]
    """Files and folders that it depends on, relative to the root, and when each was last changed before the look, in
    ns; -1 for what was not there."""


def scan_crops(root: Path) -> Scan:
    """Look through a folder, at the beginning of every picture that no manifest knows, and for copies.

    Of pictures with the same content, the first by name is used. A crop of `idn align` is known by its place, or by
    its content where it was moved or renamed; the manifest may also lie a few folders above.
    Raises OptionError if the folder holds no pictures, none that can be read, or mostly such that nobody cropped.
    """
    manifests = {f"{'../' * up}{NAME}": changed_at(root.resolve() / f"{'../' * up}{NAME}") for up in range(_ABOVE + 1)}
    found = list_photos(root)
    found = found._replace(ignored=found.ignored - Counter({".jsonl": int((root / NAME).is_file())}))
    if not found.names:
        there = f", but {', '.join(left_out(found))}" if left_out(found) else ""
        raise OptionError("root", root, f"holds no pictures{there}: give a folder of face crops made by `idn align`")
    if len(found.names) >= MANY:
        print(f"{root}: looking through {len(found.names)} pictures", file=sys.stderr)
    settings, records, unmatched = _manifest(root, found.names)
    new = [name for name in found.names if name not in records]
    broken, odd = unfit_crops(root, new)
    if settings is None:
        _require_crops(root, broken, odd, len(new))
    usable = [name for name in found.names if name not in broken and name not in odd]
    contents = _contents(root, usable, records, bool(unmatched))
    records |= {name: unmatched[d] for name, d in contents.items() if name not in records and d in unmatched}
    firsts: dict[str, str] = {}
    copies = {}
    for name in usable:
        if (first := firsts.setdefault(contents.get(name, name), name)) != name:
            copies[name] = f"copy of {first}"
    kinds = {"unreadable": broken, "not square": odd, "copied": copies}
    names = [name for name in usable if name not in copies]
    kinds = {kind: pictures for kind, pictures in kinds.items() if pictures}
    index = pack_index(names, records, settings, kinds, left_out(found))
    if not names:
        raise OptionError("root", root, f"holds no picture that can be used: {index.facts.report()}")
    return Scan(index, manifests | found.folders)


def unfit_crops(root: Path, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Name -> reason of pictures whose beginning cannot be read, and name -> size of those that are not square."""
    sizes = dict(zip(names, _each(lambda name: _size(root / name), names), strict=True))
    broken = {name: size for name, size in sizes.items() if isinstance(size, str)}
    odd = {name: f"{size[0]}x{size[1]}" for name, size in sizes.items() if name not in broken and size[0] != size[1]}
    return broken, odd


def _require_crops(root: Path, broken: dict[str, str], odd: dict[str, str], new: int) -> None:
    """Raise OptionError for a folder without a readable picture, or mostly of pictures that are not square."""
    if len(broken) == new:
        name, reason = next(iter(broken.items()))
        raise OptionError("root", root, f"holds no picture that can be read; the first is {name} ({reason})")
    if 2 * len(odd) > new - len(broken):
        name, size = next(iter(odd.items()))
        wanted = f"holds pictures that are not square, such as {name} with {size} pixels"
        raise OptionError("root", root, f"{wanted}: run idn align on it and give the crops instead")


def _manifest(root: Path, names: list[str]) -> tuple[Settings | None, dict[str, KnownCrop], dict[str, KnownCrop]]:
    """The manifest of a folder: its settings, its records by name, and the others by the digest of their crop.

    One in a folder above counts if it knows at least half of the pictures.
    """
    for folder in (root, *root.resolve().parents[:_ABOVE]):
        try:
            settings, crops = read_crops(folder)
        except UserError:
            if folder == root:
                raise
            continue
        if settings is None:
            continue
        below = "" if folder == root else f"{root.resolve().relative_to(folder).as_posix()}/"
        by_crop = {crop.name: crop for crop in crops}
        records = {name: by_crop[below + name] for name in names if below + name in by_crop}
        placed = {crop.name for crop in records.values()}
        unmatched = {crop.digest: crop for name, crop in by_crop.items() if name not in placed}
        likely = len(records) + min(len(unmatched), len(names) - len(records))
        if folder == root or 2 * likely >= len(names):
            return settings, records, unmatched
    return None, {}, {}


def _contents(root: Path, names: list[str], records: dict[str, KnownCrop], wanted: bool) -> dict[str, str]:
    """Name -> digest of the content, of pictures that may be copies of others or, if `wanted`, of all new ones."""
    digests = {name: records[name].digest for name in names if name in records and records[name].digest is not None}
    new = [name for name in names if name not in digests]
    if not wanted and not digests:
        ends = dict(zip(new, _each(lambda name: _ends(root / name), new), strict=True))
        counts = Counter(ends.values())
        new = [name for name in new if counts[ends[name]] > 1]
    return digests | dict(zip(new, _each(lambda name: _digest(root / name), new), strict=True))


def _each(look: Callable[[str], Found], names: list[str]) -> list[Found]:
    """What is seen in each, by several threads; of many, behind a progress bar."""
    with ThreadPoolExecutor(_READERS) as pool:
        seen = pool.map(look, names)
        few = len(names) < MANY
        return list(track(seen, "looking", len(names), console=Console(stderr=True), disable=few, transient=True))


def _size(path: Path) -> tuple[int, int] | str:
    """Width and height, or why they cannot be read."""
    try:
        return photo_size(path)
    except UnreadablePhoto as error:
        return str(error)


def _ends(path: Path) -> tuple[int, bytes]:
    """Length of a file and the bytes at both of its ends; what cannot be read is like nothing else."""
    try:
        with path.open("rb") as file:
            first = file.read(_ENDS)
            length = file.seek(0, 2)
            file.seek(max(0, length - _ENDS))
            return length, first + file.read(_ENDS)
    except OSError:
        return -1, bytes(path)


def _digest(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError:
        return str(path)
