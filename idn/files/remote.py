"""fsspec: files and folders behind URLs (s3://, gs://, hf://, http://, memory://), as local copies that are kept.

What is read that way goes through the same strict readers as a local file. Nothing in it is executed.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from fsspec import AbstractFileSystem, available_protocols
from fsspec.core import url_to_fs

from idn.errors import FileError, MissingExtra, MissingFile
from idn.files.atomic import atomic_write
from idn.files.user_cache import cache_folder

_URL = re.compile(r"([a-z][a-z0-9+.]+):/{1,2}(?=[^/])")
"""Beginning of a URL; `Path` makes one of its slashes."""
_EXTRA = "remote"


class Remote(NamedTuple):
    """A place behind a URL."""

    url: str
    system: AbstractFileSystem
    path: str
    """In that file system."""

    def child(self, name: str) -> "Remote":
        """A file in this folder."""
        return Remote(f"{self.url.rstrip('/')}/{name}", self.system, f"{self.path.rstrip('/')}/{name}")


def is_url(where: object) -> bool:
    """Whether this text or path is a URL of a file system, not a local path."""
    return _URL.match(str(where)) is not None


def remote(url: str | Path) -> Remote:
    """The place behind a URL; nothing is asked there yet.

    Raises FileError for a protocol that nobody knows, MissingExtra for one whose package is missing.
    """
    protocol = _URL.match(str(url))[1]
    whole = _URL.sub(f"{protocol}://", str(url), count=1)
    if protocol not in available_protocols():
        raise FileError(whole, f"begins with {protocol}://, which is unknown: use s3, gs, hf, https or a local path")
    try:
        return Remote(whole, *url_to_fs(whole))
    except ImportError as error:
        raise MissingExtra(f"paths that begin with {protocol}:// need", _EXTRA) from error


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    """Around work on a file system, whose errors are of many kinds. Raises MissingFile or FileError in their place."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(url, "is not there: check the address") from error
    except Exception as error:  # clients of stores raise their own
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise FileError(url, f"cannot be reached ({said}): check address, network and credentials") from error


def local(where: str | Path) -> Path:
    """A local path as it is; of what lies behind a URL, a copy that is kept until the original changes.

    A folder comes with all its files. Processes wait for the first that copies.
    Raises MissingFile for what is not there, FileError for what cannot be reached, and as `remote` does.
    """
    if not is_url(where):
        return Path(where)
    place = remote(where)
    with _reachable(place.url):
        if place.system.isfile(place.path):
            return _copied(place, _folder_of(place))
        if place.system.isdir(place.path):
            files = sorted(place.system.find(place.path))
            base = place.path.rstrip("/") + "/"
            for file in files:
                _copied(place.child(file.removeprefix(base)), _folder_of(place) / file.removeprefix(base))
            return _folder_of(place)
    raise MissingFile(place.url, "is not there: check the address")


def _folder_of(place: Remote) -> Path:
    """Where the copy of a file or a folder goes: under its own name, in a folder named by its whole address."""
    mark = hashlib.sha256(place.url.rstrip("/").encode()).hexdigest()[:16]
    return cache_folder() / "copies" / mark / Path(place.path).name


def _copied(place: Remote, to: Path) -> Path:
    """Copy one file, unless that has been done and the original is still the same."""
    about = place.system.info(place.path)
    now = f"{place.system.ukey(place.path)} {about.get('size')} {about.get('ETag')}"
    noted = to.with_name(f".{to.name}.version")
    to.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(to.with_name(f".{to.name}.lock")):
        if not (to.is_file() and noted.is_file() and noted.read_text() == now):
            noted.unlink(missing_ok=True)
            fetch(place, to)
            noted.write_text(now)
    return to


def fetch(place: Remote, to: Path) -> None:
    """Copy one file here, all or nothing. Raises FileError as `local` does."""
    with _reachable(place.url), atomic_write(to) as draft:
        place.system.get_file(place.path, str(draft))  # one stream: web servers need not give parts of a file


def send(file: Path, to: str | Path) -> None:
    """Copy a local file to a path or URL, all or nothing. Raises FileError, or OSError if the local disk refuses."""
    if not is_url(to):
        with atomic_write(Path(to)) as draft:
            shutil.copyfile(file, draft)
        return
    place = remote(to)
    with _reachable(place.url):
        place.system.makedirs(place.system._parent(place.path), exist_ok=True)
        place.system.put_file(str(file), place.path)


def remove(where: str | Path) -> None:
    """Remove a file, locally or behind a URL; one that is gone already is welcome. Raises FileError as `send` does."""
    if not is_url(where):
        Path(where).unlink(missing_ok=True)
        return
    place = remote(where)
    with _reachable(place.url):
        if place.system.isfile(place.path):
            place.system.rm_file(place.path)


def fetch_folder(where: str | Path, to: Path) -> int:
    """Copy all files of a folder, a path or URL, each all or nothing. Returns how many; 0 if there is no such folder.

    They come in the order in which they were stored, so that what was newest there is newest here. Raises FileError for
    what cannot be reached.
    """
    place = remote(where) if is_url(where) else Remote(str(where), *url_to_fs(str(where)))
    with _reachable(place.url):
        if not place.system.isdir(place.path):
            return 0
        base = place.path.rstrip("/") + "/"
        files = sorted(place.system.find(place.path), key=lambda file: _stored_at(place.system, file))
        names = [file.removeprefix(base) for file in files]
    for name in names:
        fetch(place.child(name), to / name)
    return len(names)


def _stored_at(system: AbstractFileSystem, path: str) -> float:
    """Seconds since 1970, 0 where the store does not tell."""
    try:
        return system.modified(path).timestamp()
    except NotImplementedError:
        return 0.0


def exists(where: str | Path) -> bool:
    """Whether a file is there, locally or behind a URL. Raises FileError for what cannot be reached."""
    if not is_url(where):
        return Path(where).is_file()
    place = remote(where)
    with _reachable(place.url):
        return bool(place.system.isfile(place.path))
