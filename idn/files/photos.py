"""Photographs on disk: which files count, how they are read with Pillow, how a picture is written all or nothing."""

import hashlib
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from idn.files.photo_pixels import to_srgb

MAX_PIXELS = 178_956_970
"""Width times height of the largest photograph that is read unless more is allowed: it takes half a gigabyte."""

_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm"),
}
"""Formats of photographs -> their file name endings, in lower case."""

Image.init()
with suppress(ImportError):  # the extra heic
    import pillow_heif

    pillow_heif.register_heif_opener()
FORMATS = tuple(name for name in _ENDINGS if name in Image.OPEN)
"""Those that this Pillow reads. No file is handed to another of its readers, whatever its name."""
SUFFIXES = frozenset(ending for name in FORMATS for ending in _ENDINGS[name])
"""File name endings of what is taken for a photograph."""

HEIC = frozenset(_ENDINGS["HEIF"])
"""Those of phones' photographs, which want the package pillow-heif."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""
_ORIENTATION = 0x0112
_LIMIT = threading.Lock()
"""Held while Pillow's own limit of pixels, which is global, is lifted."""


class UnreadablePhoto(Exception):
    """A file that is named like a photograph and cannot be read as one. The message says why."""


class LargePhoto(UnreadablePhoto):
    """One that has more pixels than are allowed."""


class PhotoList(NamedTuple):
    """What a folder holds."""

    names: list[str]
    """Photographs, as sorted POSIX paths relative to the folder."""
    ignored: Counter[str]
    """Other files by their ending, in lower case; "" for none."""
    links: int
    """Links to folders that were not followed, because what they lead to was or will be looked through anyway."""
    closed: int
    """Folders that could not be opened."""
    folders: dict[str, int]
    """When each folder that was looked through was last changed, in ns, before that; by "" or "path/"."""


def list_photos(root: Path) -> PhotoList:
    """Every photograph below `root`.

    Looks into all folders and follows linked ones, each folder once: a link to a folder around `root`, or to one that
    is looked through anyway, is passed over. Leaves out names that begin with a dot (half-written files, the shadow
    files of macOS), everything inside such folders, and what is no file.
    """
    top, names, ignored, passed, closed = root.resolve(), [], Counter(), 0, []
    folders, links, seen, changed = [""], [], set(), {}
    while folders or links:
        linked = not folders
        folder = links.pop(0) if linked else folders.pop()
        real = (root / folder).resolve()
        if real in seen or (linked and top.is_relative_to(real)):
            passed += 1
            continue
        seen.add(real)
        changed[folder] = changed_at(root / folder)
        for entry in _entries(root / folder, closed):
            name = f"{folder}{entry.name}"
            ending = os.path.splitext(entry.name)[1].lower()
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(f"{name}/")
            elif ending in SUFFIXES and (entry.is_file() or not os.path.exists(entry)):
                names.append(name)
            else:
                ignored["" if ending == "." else ending] += 1
    return PhotoList(sorted(names), ignored, passed, len(closed), changed)


def changed_at(path: Path) -> int:
    """When a file or the list of a folder was last changed, in ns; -1 where it is not there or cannot be asked."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1


def _entries(folder: Path, closed: list[Path]) -> list[os.DirEntry[str]]:
    """What lies in a folder and is not hidden, by name; a folder that cannot be opened is noted in `closed`."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        closed.append(folder)
        return []


def left_out(found: PhotoList) -> list[str]:
    """What else a folder holds, a few words each, the most frequent ending first."""
    said = [f"{count} {ending or 'without ending'}" for ending, count in found.ignored.most_common()]
    links = [f"links that lead back: {found.links}"] if found.links else []
    return said + links + ([f"folders that cannot be opened: {found.closed}"] if found.closed else [])


def printable(text: str) -> str:
    """A file name, or a text with one in it, with bytes that are no UTF-8 written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def decode_photo(path: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[Tensor, str | None]:
    """Decode a file, or what one holds, upright, as its EXIF orientation says, to sRGB.

    max_pixels: width times height of the largest photograph that is read.
    Returns (3, H, W) uint8 RGB, and what had to be passed over to get it, such as a broken colour profile.
    Raises UnreadablePhoto for whatever cannot be decoded completely, or to brightnesses of unknown meaning.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            if width * height > max_pixels:
                size = f"{width} x {height} = {width * height} pixels"
                raise LargePhoto(f"it has {size}, more than max_pixels={max_pixels}")
            return _decoded(image)
    except (MemoryError, UnreadablePhoto):
        raise
    except Exception as error:  # readers raise whatever a damaged file brings about
        raise UnreadablePhoto(printable(f"{type(error).__name__}: {error}")) from error


def as_pixels(image: Image.Image) -> Tensor:
    """An image of any Pillow mode, upright as its EXIF orientation says -> (3, H, W) uint8 RGB.

    Raises UnreadablePhoto if its pixels cannot be decoded, or have brightnesses of unknown meaning.
    """
    try:
        return _decoded(image)[0]
    except Exception as error:  # decoders raise whatever damaged pixels bring about
        raise UnreadablePhoto(printable(f"{type(error).__name__}: {error}")) from error


def _decoded(image: Image.Image) -> tuple[Tensor, str | None]:
    """Pixels, (3, H, W) uint8 sRGB, and what had to be passed over to get them."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright, note = to_srgb(image)
    pixels = np.array(upright if turn is None else upright.transpose(turn))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), note


def read_photo(path: Path, max_pixels: int = MAX_PIXELS, content: bytes | None = None) -> Tensor:
    """The same, where what was passed over is a warning. Returns (3, H, W) uint8 RGB. Raises UnreadablePhoto.

    content: of the file, where it was read already.
    """
    pixels, note = decode_photo(path if content is None else content, max_pixels)
    if note is not None:
        warnings.warn(printable(f"{path}: {note}"), stacklevel=2)
    return pixels


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, as the beginning of a file says. Raises UnreadablePhoto where it says nothing."""
    try:
        with _open(path) as image:
            return image.size
    except UnreadablePhoto:
        raise
    except Exception as error:  # readers raise whatever a damaged header brings about
        raise UnreadablePhoto(printable(f"{type(error).__name__}: {error}")) from error


class PhotoHeader(NamedTuple):
    """What the beginning of a file says of its picture."""

    frames: int
    """How many pictures an animated GIF, WebP, PNG or AVIF holds; 1 for any other file."""
    deep: bool
    """Whether brightnesses have more than eight bits."""
    transparent: bool
    """Whether parts may be seen through."""


def is_photo(path: Path) -> bool:
    """Whether a file is taken for a photograph: by its ending, or by what it holds where its ending says nothing.

    HEIC is one whether it can be read here or not.
    """
    ending = path.suffix.lower()
    if ending in SUFFIXES | HEIC:
        return True
    with suppress(UnreadablePhoto):
        return photo_header(path).frames > 0
    return False


def photo_header(path: Path | bytes) -> PhotoHeader:
    """What a file, or what one holds, says of itself. Raises UnreadablePhoto where its beginning says nothing."""
    try:
        with _open(path) as image:
            frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "WEBP", "PNG", "AVIF") else 1
            deep = image.mode.startswith(("I", "F"))
            return PhotoHeader(frames, deep, "A" in image.getbands() or "transparency" in image.info)
    except UnreadablePhoto:
        raise
    except Exception as error:  # readers raise whatever a damaged header brings about
        raise UnreadablePhoto(printable(f"{type(error).__name__}: {error}")) from error


@contextmanager
def _open(path: Path | bytes) -> Iterator[Image.Image]:
    """The beginning of a file, read by one of the formats of photographs, however large it says the picture is."""
    with BufferedReader(BytesIO(path)) if isinstance(path, bytes) else path.open("rb") as file:
        file.peek(1)  # waits for the disk before, not while others wait for the lock
        with _LIMIT:
            usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(file, formats=FORMATS)
            except UnidentifiedImageError:
                raise UnreadablePhoto(f"it is not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None
            finally:
                Image.MAX_IMAGE_PIXELS = usual
        yield image


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation of a loaded picture: any value, None where EXIF is missing or cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # of damaged EXIF; the pixels are fine
        return None
    return value if isinstance(value, int) else None


def write_photo(path: Path, pixels: Tensor, quality: int) -> bytes:
    """Write (3, H, W) uint8 RGB as the suffix of `path` says. `quality` (1..100) is for JPEG and WebP.

    The picture appears under its name only once it is whole. Returns what the file holds. Raises OSError if the disk
    refuses.
    """
    encoded = BytesIO()
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[path.suffix]
    options = {} if kind == "PNG" else {"quality": quality}
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(encoded, kind, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{digest(path.name.encode('utf-8', 'surrogateescape'))}.part")  # no longer than the name
    try:
        part.write_bytes(encoded.getvalue())
        part.replace(path)
    except BaseException:  # also Ctrl-C
        part.unlink(missing_ok=True)
        raise
    return encoded.getvalue()


def digest(content: bytes) -> str:
    """What tells the content of a file from that of any other: 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
