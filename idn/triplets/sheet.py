"""Contact sheet of a folder of triplets: a column per class, originals above their edited versions."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from idn.data.fstriplets.layout import EDITED_TARGET
from idn.data.fstriplets.manifest import Record, Triplet
from idn.files.photos import UnreadablePhoto, read_photo
from idn.images import from_uint8, resize
from idn.provenance.pictures import label_columns, save_synthetic

SHEET = "contact_sheet.png"
_SIDE = 112


def contact_sheet(folder: Path, records: Sequence[Record], examples: int) -> None:
    """Draw some triplets of every class, taken at even steps of the manifest, to `contact_sheet.png`."""
    classes: dict[str, list[Triplet]] = defaultdict(list)
    for record in records:
        for triplet in record.made():
            name = triplet.folder.rpartition("/")[2]
            classes[f"{name}: {triplet.edit}" if triplet.folder == EDITED_TARGET else name].append(triplet)
    columns = {}
    for name, triplets in sorted(classes.items()):
        step = max(1, len(triplets) // examples)
        shown = [_pictures(folder, triplet) for triplet in triplets[: step * examples : step]]
        rows = [picture for pair in shown for picture in pair]
        rows += [torch.ones(3, _SIDE, _SIDE)] * (2 * examples - len(rows))
        columns[name] = torch.stack(rows)
    save_synthetic(label_columns(columns), folder / SHEET, {"Triplets": str(sum(map(len, classes.values())))})


def _pictures(folder: Path, triplet: Triplet) -> tuple[Tensor, Tensor]:
    """Photograph and edited version, (3, s, s) each; white where one cannot be read any more."""
    before = triplet.result if triplet.result != triplet.target else triplet.source
    return _picture(folder / before), _picture(folder / triplet.target)


def _picture(path: Path) -> Tensor:
    try:
        return resize(from_uint8(read_photo(path)[None]), _SIDE)[0]
    except UnreadablePhoto:
        return torch.ones(3, _SIDE, _SIDE)
