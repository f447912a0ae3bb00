"""Folder of FSTriplets on disk: its tree, what its manifest knows, and the people who are held out."""

from pathlib import Path

import torch
from torch import Tensor

from idn.data.fstriplets.layout import EDITED_TARGET, OCCLUDERS, VANILLA, EditedTarget, Pair, Shown, scan_tree
from idn.data.fstriplets.manifest import read_manifest
from idn.data.fstriplets.occluders import Occluders
from idn.data.photo_folder import hold_out
from idn.errors import OptionError
from idn.files.option_checks import require_number
from idn.files.photos import printable

Content = dict[str, list[Shown] | list[Pair] | list[EditedTarget]]
"""What can be drawn of, by class."""


class TripletFolder:
    """The classes of a folder and, where `idn triplets` made it, what its manifest says."""

    def __init__(self, root: str, layout: str = "auto") -> None:
        """Look through it, see `scan_tree`. Raises UserError as that does, and for a damaged manifest."""
        self.root = Path(str(root))
        self.settings, records = read_manifest(self.root) if self.root.is_dir() else (None, [])
        self._landmarks: dict[str, list[list[float]]] = {}
        self._covers: dict[str, str] = {}
        known: set[str] = set()
        for record in records:
            known |= record.digests.keys()
            self._landmarks |= record.landmarks
            for triplet in record.made():
                if triplet.covers and triplet.region is not None:
                    self._covers[triplet.result] = triplet.region
        self.tree = scan_tree(self.root, layout, known)
        self.knows_landmarks = bool(self._landmarks)

    @property
    def photographs(self) -> bool:
        """Whether any picture shows more than drawn faces, as far as is known."""
        return self.settings is None or self.settings.photographs

    def people(self) -> set[str]:
        """Everybody who is on a picture."""
        return {one.who for found in self.tree.classes().values() for one in found}

    def part(self, part: str, holdout: float) -> Content:
        """Classes that can be drawn of, of the people to train with ("train") or of those held out ("val").

        Vanilla pairs take two people. Raises OptionError as `hold_out` does.
        """
        require_number("holdout", holdout, 0, 1)
        held = hold_out(self.root, self.people(), holdout)
        content: Content = {}
        for name, found in self.tree.classes().items():
            mine = [one for one in found if (one.who in held) == (part == "val")]
            if len({one.who for one in mine}) >= (2 if name == VANILLA else 1):
                content[name] = mine
        return content

    def landmarks(self, name: str) -> Tensor | None:
        """Five points, (5, 2) in normalised coordinates of the picture on disk, if the manifest knows them."""
        points = self._landmarks.get(name)
        return None if points is None else torch.tensor(points, dtype=torch.float64)

    def cover(self, name: str) -> str | None:
        """The picture that shows where an edit lies in front of the face of this one, if one does."""
        return self._covers.get(name)

    def occluders(self) -> Occluders:
        """The occluders. Raises OptionError if there are none."""
        if not self.tree.occluders:
            wanted = f"holds no pictures in {OCCLUDERS}: put cut-outs there, or set occlusion=0"
            raise OptionError("root", self.root, wanted)
        return Occluders(self.root, self.tree.occluders)

    def summary(self) -> str:
        """What is there, in a few words, for a line."""
        tree = self.tree
        pairs = sum(map(len, tree.pairs.values()))
        classes = sum(bool(of) for of in tree.pairs.values())
        return printable(
            f"{self.root}: {len(tree.vanilla)} photographs, {pairs} pairs of {classes} classes, "
            f"{len(tree.edited_target)} of {EDITED_TARGET}, {len(self.people())} people; "
            f"left out: {tree.report() or 'none'}"
        )
