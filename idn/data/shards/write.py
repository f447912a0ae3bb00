"""`idn shards`: a folder of crops -> WebDataset tar files of about one size, and an index of every picture in them."""

import io
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress

from idn.data.kept_index import open_index
from idn.errors import OptionError
from idn.files.option_checks import require_int
from idn.files.refused_disk import refused_disk
from idn.files.remote import exists, is_url, send

INDEX = "index.safetensors"
"""File beside the shards that says where each picture lies; it comes last, so where it is, all is."""
MEGABYTE = 10**6
_BLOCK = tarfile.BLOCKSIZE


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.tar"


def check_vacant(argument: str, place: str) -> str:
    """Where the index of new shards goes. Raises OptionError, for this argument, if one is there."""
    index_file = f"{str(place).rstrip('/')}/{INDEX}"
    if exists(index_file):
        raise OptionError(argument, place, "holds shards: give a new folder")
    return index_file


class Written(NamedTuple):
    """What came of it."""

    crops: int
    shards: int
    size: int
    """Bytes of all shards."""


def write_shards(src: str, dst: str, megabytes: int = 64) -> Written:
    """Pack the crops of a folder, byte by byte as they are, so that they train as the folder does.

    src: a folder of crops, see `FaceFolder`. dst: a new folder, or a URL.
    megabytes: size of a shard, in 10**6 bytes. A new one begins with a new person, unless one fills two.
    Raises OptionError for folders, sizes and disks that cannot work, FileError for a URL that cannot be reached.
    """
    require_int("megabytes", megabytes, 1)
    root = Path(str(src))
    if not root.is_dir():
        raise OptionError("src", src, "is not a folder: give a folder of face crops made by `idn align`")
    index_file = check_vacant("dst", dst)
    if not is_url(dst) and Path(dst).resolve().is_relative_to(root.resolve()):
        raise OptionError("dst", dst, f"lies in src={src}, whose pictures it would join: give another folder")
    index = open_index(root)
    places = torch.zeros(len(index.names), 3, dtype=torch.long)
    sizes: list[int] = []
    with (
        refused_disk("dst", Path(str(dst)), "no shards"),
        tempfile.TemporaryDirectory() as folder,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        draft = Path(folder, "shard.tar")
        packing = _Packing(root, megabytes * MEGABYTE, draft)
        for number, name in enumerate(progress.track(index.names, description="packing")):
            if packing.full(name):
                sizes.append(_close(packing, dst, len(sizes)))
            places[number] = torch.tensor([len(sizes), *packing.add(name)])
        sizes.append(_close(packing, dst, len(sizes)))
        extra = {"places": places, "shard_sizes": torch.tensor(sizes)}
        index.write(Path(folder, INDEX), {}, extra)
        send(Path(folder, INDEX), index_file)
    print(f"{dst}: {len(places)} crops in {len(sizes)} shards, {sum(sizes) / MEGABYTE:.0f} MB", file=sys.stderr)
    return Written(len(places), len(sizes), sum(sizes))


def _close(packing: "_Packing", dst: str, number: int) -> int:
    """Finish a shard and put it where it belongs. Returns its size in bytes."""
    size = packing.close()
    send(packing.draft, f"{str(dst).rstrip('/')}/{shard_name(number)}")
    return size


class _Packing:
    """The shard that is being filled."""

    def __init__(self, root: Path, limit: int, draft: Path) -> None:
        self.root, self.limit, self.draft = root, limit, draft
        self._tar: tarfile.TarFile | None = None
        self._person = ""

    def full(self, name: str) -> bool:
        """Whether this picture shall begin another shard."""
        same = "/" in name and name.split("/", 1)[0] == self._person
        return self._tar is not None and self._tar.offset >= self.limit * (2 if same else 1)

    def add(self, name: str) -> tuple[int, int]:
        """Append a picture; where its bytes begin in the shard, and how many they are. Raises OSError."""
        if self._tar is None:
            self._tar = tarfile.open(self.draft, "w")  # noqa: SIM115, closed by `close`
        content = (self.root / name).read_bytes()
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content))
        self._person = name.split("/", 1)[0]
        return self._tar.offset - -(-len(content) // _BLOCK) * _BLOCK, len(content)

    def close(self) -> int:
        """End the shard; its size in bytes."""
        if self._tar is not None:
            self._tar.close()
        self._tar = None
        return self.draft.stat().st_size
