"""Inspection of files: what a picture or a video says of where it comes from, in metadata, C2PA manifest and pixels."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from idn.errors import DamagedFile, FileError, MissingExtra, MissingFile
from idn.files.photos import FORMATS
from idn.provenance.content_credentials import Credentials, read_credentials
from idn.provenance.metadata import said_by_picture, said_by_tags, says_synthetic
from idn.provenance.watermark_search import Finding, find_mark

STEP = 5
"""Every so many frames one is looked at, where a video cannot be entered in enough places."""


class Report(NamedTuple):
    """What was found in one file."""

    path: Path
    said: dict[str, str]
    """What its metadata says of where it comes from, by name."""
    credentials: Credentials | None
    """Its C2PA manifest; None where there is none, or none was looked for."""
    credentials_read: bool
    """Whether `c2pa-python` is there to look for one."""
    mark: Finding
    frames: int
    """How many pictures of it were looked at: more than one of a video, and of a picture that moves."""

    @property
    def synthetic(self) -> bool:
        """Whether anything says that the file shows something synthetic."""
        by_manifest = self.credentials is not None and self.credentials.synthetic
        return says_synthetic(self.said) or by_manifest or self.mark.found

    def lines(self) -> list[str]:
        """What was found, for people."""
        return [
            f"{self.path}",
            f"  metadata  {_metadata_line(self.said)}",
            f"  C2PA      {_credentials_line(self.credentials, self.credentials_read)}",
            f"  mark      {_mark_line(self.mark, self.frames)}",
        ]

    def record(self) -> dict[str, Any]:
        """The same for programs, made of what JSON holds."""
        return {
            "file": str(self.path),
            "synthetic": self.synthetic,
            "metadata": self.said,
            "c2pa": None if self.credentials is None else self.credentials._asdict(),
            "c2pa_read": self.credentials_read,
            "mark": {**self.mark._asdict(), "found": self.mark.found},
            "frames": self.frames,
        }


def inspect_file(path: Path, frames: int = 16, resized: bool = True) -> Report:
    """Look for everything that can say that a picture or a video is synthetic.

    frames: most pictures of a video that are looked at, from all over it.
    resized: see `find_mark`.
    Raises MissingFile; DamagedFile for what is neither; MissingExtra for a video without PyAV.
    """
    if path.is_dir():
        raise FileError(path, "is a folder: name the files in it, such as FOLDER/*.png")
    if not path.is_file():
        raise MissingFile(path, "is not there: give pictures or videos")
    said, pictures = _picture(path, frames) or _video(path, frames)
    try:
        credentials, read = read_credentials(path), True
    except MissingExtra:
        credentials, read = None, False
    mark = find_mark(pictures, resized)
    return Report(path, said, credentials, read, mark, len(pictures))


def _picture(path: Path, frames: int) -> tuple[dict[str, str], list[NDArray[np.uint8]]] | None:
    """Metadata and pixels of a file that Pillow knows, of several if it moves; None for another kind of file."""
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        return None
    except (OSError, Image.DecompressionBombError) as error:
        raise DamagedFile(path, f"cannot be read ({error}): give another one") from error
    with image:
        said = said_by_picture(image)
        try:
            several = ImageSequence.Iterator(image)
            pictures = [np.asarray(one.convert("RGB")) for one in islice(several, frames)]
        except Exception as error:  # decoders raise whatever a damaged file brings about
            raise DamagedFile(path, f"is a damaged picture ({error}): give another one") from error
    return said, [picture for picture in pictures if picture.shape == pictures[0].shape]


def _video(path: Path, frames: int) -> tuple[dict[str, str], list[NDArray[np.uint8]]]:
    """The tags of a video, and the brightness of frames from all over it."""
    try:
        import av
    except ImportError:
        raise MissingExtra(f"{path} is no picture, and reading videos needs PyAV:", "video") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DamagedFile(path, "holds neither a picture nor a video: give another one")
            said = said_by_tags({**container.metadata, **container.streams.video[0].metadata})
            found = {frame.pts: frame.to_ndarray(format="gray") for frame in _entered(container, frames)}
        if len(found) < frames:
            with av.open(str(path)) as container:
                found |= {frame.pts: frame.to_ndarray(format="gray") for frame in _following(container, frames)}
    except av.error.FFmpegError as error:
        raise DamagedFile(path, f"is neither a picture nor a video that can be read ({error.strerror})") from error
    if not found:
        raise DamagedFile(path, "is a video without a frame: give another one")
    pictures = list(found.values())
    return said, [picture for picture in pictures if picture.shape == pictures[0].shape]


def _entered(container: Any, frames: int) -> Iterator[Any]:
    """The first frame at each of so many times, evenly over a video that knows how long it is."""
    if container.duration is None:
        return
    for index in range(frames):
        container.seek(int(container.duration * (index + 0.5) / frames) + (container.start_time or 0))
        yield from islice(container.decode(video=0), 1)


def _following(container: Any, frames: int) -> Iterator[Any]:
    """Every fifth frame from the start on, so many of them."""
    for index, frame in enumerate(islice(container.decode(video=0), STEP * frames)):
        if index % STEP == 0:
            yield frame


def _metadata_line(said: dict[str, str]) -> str:
    if "DigitalSourceType" not in said:
        return "says nothing of where it comes from"
    others = (f", {name.lower()} {said[key]}" for key, name in (("Software", "by"), ("Model", "model")) if key in said)
    return said["DigitalSourceType"].rpartition("/")[2] + "".join(others)


def _credentials_line(credentials: Credentials | None, read: bool) -> str:
    if credentials is None:
        return "no manifest" if read else "not looked for: c2pa-python is not installed"
    kind = "calls it synthetic" if credentials.synthetic else "does not call it synthetic"
    return f"{credentials.state.lower()}, signed by {credentials.signer}, made by {credentials.tool}, {kind}"


def _mark_line(mark: Finding, frames: int) -> str:
    chance = f"{mark.probability:.0e}" if mark.probability > 1e-300 else "below 1e-300"
    size = "" if not mark.found or mark.scale == 1 else f", at {mark.scale:.2f} of the size that was marked"
    together = f", {frames} frames together" if frames > 1 else ""
    return f"{'found' if mark.found else 'not found'}: probability of chance {chance}{size}{together}"
