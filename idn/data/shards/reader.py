"""Random access to crops in tar shards by their index; of a URL, shards are copied to a local cache of bounded size."""

import hashlib
import os
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch.utils.data import get_worker_info

from idn.data.crop_index import read_index
from idn.data.shards.write import INDEX, MEGABYTE, shard_name
from idn.errors import DamagedFile, MissingFile, OptionError
from idn.files.remote import exists, fetch, is_url, local, remote
from idn.files.user_cache import cache_folder

_OPEN = 16
"""Shards that a process keeps open."""


def holds_shards(root: str | Path) -> bool:
    """Whether a path or URL is that of a sharded set. Raises FileError for one that cannot be reached."""
    return exists(f"{str(root).rstrip('/')}/{INDEX}")


class ShardedCrops:
    """Crops of a sharded set by name, byte by byte as they were in their folder."""

    def __init__(self, root: str | Path, cache_megabytes: int = 20_000) -> None:
        """Map the index. cache_megabytes: of shards behind a URL that stay on this machine, the last used ones.

        Raises OptionError for a place without an index, FileError for one that cannot be reached or read.
        """
        self.root, self.cache_bytes = str(root).rstrip("/"), cache_megabytes * MEGABYTE
        if not holds_shards(self.root):
            raise OptionError("root", root, f"holds no shards ({INDEX} is missing): make them with `idn shards`")
        self._index_file = local(f"{self.root}/{INDEX}")
        self.index, _ = read_index(self._index_file)
        self._map()

    def _map(self) -> None:
        try:
            with safe_open(self._index_file, framework="np") as file:
                self.places, self.sizes = file.get_tensor("places"), file.get_tensor("shard_sizes")
        except (OSError, SafetensorError) as error:  # also of the index of a folder
            raise DamagedFile(self._index_file, "names no shards: make them again with `idn shards`") from error
        self._open: dict[int, int] = {}
        self._fetcher: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which open the shards themselves."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_open", "_fetcher", "places")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the index once more."""
        self.__dict__ |= state
        self._map()

    def shards(self) -> np.ndarray:
        """(len,) int64: the shard of every photograph."""
        return self.places[:, 0]

    def content(self, name: str) -> bytes:
        """What the file of that name held. Raises KeyError for an unknown name, FileError for a shard that is cut."""
        number = bisect_left(self.index.names, name)
        if number == len(self.index.names) or self.index.names[number] != name:
            raise KeyError(name)
        shard, begin, length = self.places[number].tolist()
        content = os.pread(self._descriptor(shard), length, begin)
        if len(content) != length:
            raise DamagedFile(f"{self.root}/{shard_name(shard)}", "is cut short: copy it again")
        return content

    def _descriptor(self, shard: int) -> int:
        """A shard, opened; that of the least recent use is closed."""
        if shard not in self._open:
            if len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            path = self.fetched(shard)
            try:
                self._open[shard] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise MissingFile(path, "is missing: copy it again") from error
        self._open[shard] = self._open.pop(shard)
        return self._open[shard]

    def prefetch(self, shards: list[int]) -> None:
        """In a loader process, begin to copy some shards in a thread; nothing happens elsewhere, or for local ones."""
        if is_url(self.root) and shards and get_worker_info() is not None:
            self._fetcher = self._fetcher or ThreadPoolExecutor(1)
            for shard in shards:
                self._fetcher.submit(self.fetched, shard)

    def fetched(self, shard: int) -> Path:
        """Local path of a shard, copied if that is needed. Raises FileError for one that cannot be reached."""
        name = shard_name(shard)
        if not is_url(self.root):
            return Path(self.root, name)
        mark = hashlib.sha256(f"{self.root} {self.index.facts.digest}".encode()).hexdigest()[:16]
        path = cache_folder() / "shards" / mark / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock")):
            if not path.is_file() or path.stat().st_size != self.sizes[shard]:
                self._make_room(path.parent, int(self.sizes[shard]))
                fetch(remote(f"{self.root}/{name}"), path)
            os.utime(path)
        return path

    def _make_room(self, folder: Path, wanted: int) -> None:
        """Remove what was used longest ago, until another shard fits; who still reads one of them may go on."""
        kept = []
        for path in folder.glob("shard-*.tar"):
            try:
                kept.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:  # another process made room
                continue
        total = sum(size for _, size, _ in kept) + wanted
        for _, size, path in sorted(kept):
            if total <= self.cache_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
