"""Still pictures: decoded whole, or refused in one sentence, as animations and HEIC without its plugin are."""

from pathlib import Path

from torch import Tensor

from idn.errors import DamagedFile, FileError, MissingExtra, UserError
from idn.files.photos import (
    FORMATS,
    HEIC,
    LargePhoto,
    PhotoHeader,
    UnreadablePhoto,
    decode_photo,
    photo_header,
    read_photo,
)


def check_still(path: Path) -> PhotoHeader:
    """What the beginning of a file says. Raises FileError for what is no picture, and for animations; MissingExtra."""
    try:
        header = photo_header(path)
    except UnreadablePhoto as error:
        raise _refused(path, error) from error
    if header.frames > 1:
        raise FileError(path, _moving(header))
    return header


def open_photo(path: Path) -> Tensor:
    """(3, H, W) uint8 RGB, upright. Raises FileError for whatever cannot be read, and for animations; MissingExtra."""
    check_still(path)
    try:
        return read_photo(path)
    except UnreadablePhoto as error:
        raise _refused(path, error) from error


def decode_upload(content: bytes, name: str) -> Tensor:
    """The same of what a file holds. name: how the sentence calls it. Raises UserError."""
    try:
        header = photo_header(content)
        if header.frames > 1:
            raise UserError(f"{name} {_moving(header)}")
        return decode_photo(content)[0]
    except LargePhoto as error:
        raise UserError(f"{name} is too large ({error}): choose a smaller copy") from error
    except UnreadablePhoto as error:
        raise UserError(f"{name} cannot be read ({error}): choose another picture") from error


def _moving(header: PhotoHeader) -> str:
    """What is said of an animation."""
    return f"is an animation of {header.frames} frames: make a video of it first, as `ffmpeg -i IN OUT.mp4` does"


def _refused(path: Path, error: UnreadablePhoto) -> UserError:
    """The sentence for a file that cannot be read."""
    if path.suffix.lower() in HEIC and "HEIF" not in FORMATS:
        return MissingExtra(f"{path} is a HEIC photograph: give a JPEG, or install pillow-heif:", "heic")
    if isinstance(error, LargePhoto):
        return FileError(path, f"is too large ({error}): give a smaller copy")
    return DamagedFile(path, f"cannot be read as a photograph ({error}): give another one")
