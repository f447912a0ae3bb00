"""Files and folders that are there completely or not at all."""

import contextlib
import glob
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from idn.errors import FileError

_DRAFT = ".draft"
"""Ending of a hidden folder with something half-written."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A draft to write to, a file or a folder: it takes the place of `path` at the end, or is gone after an error.

    The draft has the name of `path` in a folder of its own, beside it, for work on the way. Files in there with the
    stem of the draft belong to it, as NAME.bin to NAME.xml, and go along: `path` is there only while they are. All else
    in that folder is left behind and goes away. Makes the folder of `path`. Raises FileError, after which all is as it
    was, where a folder has the place of a file or the other way round, or the place of the folder around it.
    """
    _make_folder(path)
    with tempfile.TemporaryDirectory(_DRAFT, f".{path.name}.", path.parent) as folder:
        draft = Path(folder, path.name)
        yield draft
        others = [other for other in Path(folder).glob(f"{glob.escape(draft.stem)}.*") if other != draft]
        for file in (draft, *others):
            if file.is_file():
                file.chmod(0o644)
        if path.exists() and draft.exists() and path.is_dir() != draft.is_dir():
            raise FileError(path, f"is a {_kind(path)} already, and no {_kind(draft)}: give another one")
        if path.is_dir():
            path.rename(Path(folder, f"{path.name}.before"))
        elif others:
            path.unlink(missing_ok=True)
        for other in others:
            other.replace(path.with_name(other.name))
        draft.replace(path)


def _make_folder(path: Path) -> None:
    """Make the folder of `path`. Raises FileError for a path that no file can have, and for a file in the way."""
    if not path.name or path.name == "..":
        raise FileError(path, "is a folder already, and no file: give another one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        in_the_way = next(folder for folder in (path.parent, *path.parent.parents) if folder.exists())
        raise FileError(in_the_way, "is a file already, and no folder: give another one") from error


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"


def remove_drafts(*folders: Path) -> None:
    """Remove what writers left half-written in these folders that were killed. Nobody may be writing there now."""
    for folder in folders:
        for draft in folder.glob(f".*{_DRAFT}"):
            shutil.rmtree(draft, ignore_errors=True)
