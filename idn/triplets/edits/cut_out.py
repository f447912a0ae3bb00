"""Cut-outs of a folder, pictures of anything with transparency, laid anywhere over the face."""

from pathlib import Path

import torch
import torch.nn.functional as F

from idn.data.stable_draws import below
from idn.errors import OptionError
from idn.files.cut_outs import read_cut_out
from idn.files.photos import UnreadablePhoto, list_photos
from idn.triplets.drawing import Canvas
from idn.triplets.edit import ATTRIBUTE, Edit, Edited, Unsuitable, between, chance, finished
from idn.triplets.face import Face


class CutOut(Edit):
    """One of the pictures, as large as a part of the face, with a soft shadow."""

    makes, covers = ATTRIBUTE, True

    def __init__(self, folder: str, least: float = 0.8, most: float = 1.6) -> None:
        """folder: pictures with transparency or on white; all folders in it are looked through.

        least, most: longer side, in distances between the eyes.
        Raises OptionError for a folder that is not there or holds no pictures.
        """
        self.folder = Path(str(folder))
        self.names = list_photos(self.folder).names if self.folder.is_dir() else []
        if not self.names:
            said = "holds no pictures" if self.folder.is_dir() else "is not a folder"
            raise OptionError("folder", folder, f"{said}: give one of cut-outs, or edits.cut_out=null for none")
        self.least, self.most = least, most

    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """Paste it, mirrored by chance."""
        name = self.names[below(len(self.names), draw)]
        side = max(8, round(between(self.least, self.most, draw) * face.unit))
        try:
            colours, alpha = read_cut_out(self.folder / name, min(side, face.size))
        except UnreadablePhoto as error:
            raise Unsuitable(f"{name}: {error}") from error
        if chance(0.5, draw):
            colours, alpha = colours.flip(-1), alpha.flip(-1)
        height, width = alpha.shape[-2:]
        centre = face.place((between(-0.8, 0.8, draw), between(-0.4, 1.5, draw)))[0]
        left = min(face.size - width, max(0, int(centre[0]) - width // 2))
        top = min(face.size - height, max(0, int(centre[1]) - height // 2))
        room = (left, face.size - left - width, top, face.size - top - height)
        shape = F.pad(alpha, room)[0]
        canvas = Canvas(face.image)
        canvas.shadow(shape, (0.05 * face.unit, 0.07 * face.unit), 0.07 * face.unit, 0.35)
        canvas.paint(face.tinted(F.pad(colours, room)), shape)
        return finished(face, canvas.image, canvas.region, {"picture": name, "left": left, "top": top, "side": side})
