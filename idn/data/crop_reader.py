"""Reader of face crops on disk: square pictures in, crops of one size and alignment template out."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from idn.files.photos import UnreadablePhoto, printable, read_photo
from idn.geometry.affine import transform_points
from idn.geometry.templates import between_templates
from idn.geometry.warping import realign
from idn.images import from_uint8, resize, to_uint8


class CropReader:
    """Reads crops below a folder by name and brings them into the wanted framing."""

    def __init__(
        self,
        root: Path | str,
        size: int,
        template: str,
        stored_template: str,
        cache: bool = False,
        content: Callable[[str], bytes] | None = None,
    ) -> None:
        """size, template: pixels and alignment template of the crops to deliver.

        stored_template: alignment template of those on disk.
        cache: keep decoded crops in memory, size * size * 3 bytes each, separately in every loader process.
        content: what the picture of a name holds; None reads the file of that name below `root`.
        """
        self._content = content
        self.root, self.size, self.template, self.stored_template = root, size, template, stored_template
        self.unreadable: dict[str, str] = {}
        """Name -> reason, of the pictures that could not be read."""
        self._cache: dict[str, Tensor] | None = {} if cache else None

    def __call__(self, name: str) -> Tensor:
        """One crop in the wanted framing, (3, size, size) uint8 RGB.

        Raises UnreadablePhoto for a damaged or not square file, after counting it in `unreadable` and warning once.
        """
        if self._cache is not None and name in self._cache:
            return self._cache[name]
        try:
            pixels = self.stored(name)
            if pixels.shape[1] != pixels.shape[2]:
                raise UnreadablePhoto(f"{pixels.shape[2]}x{pixels.shape[1]} pixels: crops must be square")
        except UnreadablePhoto as error:
            if name not in self.unreadable:
                self.unreadable[name] = str(error)
                warnings.warn(printable(f"{self.root}/{name} is left out: {error}"), stacklevel=2)
            raise
        crop = self._framed(pixels)
        if self._cache is not None:
            self._cache[name] = crop
        return crop

    def stored(self, name: str) -> Tensor:
        """A picture as it is on disk, (3, H, W) uint8 RGB. Raises UnreadablePhoto."""
        path = Path(self.root, name)
        return read_photo(path) if self._content is None else read_photo(path, content=self._content(name))

    def points(self, stored: Tensor) -> Tensor:
        """Points of a stored crop, (..., 2) in normalised coordinates, where the delivered one has them."""
        return transform_points(stored.double(), between_templates(self.stored_template, self.template))

    def enough(self) -> int:
        """Side of a stored crop that shows the face in as many pixels as the delivered one."""
        zoom = float(between_templates(self.stored_template, self.template)[:, :2].det().sqrt())
        return math.ceil(round(self.size * zoom, 6))

    def _framed(self, pixels: Tensor) -> Tensor:
        """Stored crop -> delivered crop; reduced before the warp where that would skip pixels."""
        if self.stored_template == self.template and pixels.shape[1] == self.size:
            return pixels
        crop = from_uint8(pixels[None])
        if self.stored_template != self.template:
            crop = resize(crop, min(crop.shape[-1], self.enough()))
        return to_uint8(realign(crop, self.stored_template, self.template, self.size))[0]
