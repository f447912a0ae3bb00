"""Draw the sheet of procedural faces that the README shows: `python benchmarks/contact_sheet.py out.jpg`.

Rows: three people, each in seven situations. Last row: source, target, exact swap, face mask, and again.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from idn.data.procedural import FaceRenderer, ProceduralSwaps

SIZE = 140
PEOPLE = 3
SITUATIONS = 7
SEED = 12


def people(renderer: FaceRenderer) -> Tensor:
    """(PEOPLE * SITUATIONS, 3, SIZE, SIZE), a person per row."""
    generator = torch.Generator().manual_seed(SEED)
    identity = renderer.sample_identity(PEOPLE, generator).repeat_interleave(SITUATIONS, 0)
    attributes = renderer.sample_attributes(SITUATIONS, generator).repeat(PEOPLE, 1)
    return renderer.render(identity, attributes, SIZE).image


def swaps(renderer: FaceRenderer) -> Tensor:
    """(SITUATIONS, 3, SIZE, SIZE): source, target, swap and mask of one sample, then the first three of another."""
    batch = ProceduralSwaps(renderer, SIZE, 4, SEED, same_ratio=0.0)[0]
    rows = torch.stack([batch.source, batch.target, batch.truth, batch.face.expand(-1, 3, -1, -1)], 1)
    return rows[::2].flatten(0, 1)[:SITUATIONS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="of the picture, such as out.jpg")
    path = parser.parse_args().path
    path.parent.mkdir(parents=True, exist_ok=True)
    renderer = FaceRenderer()
    pictures = torch.cat([people(renderer), swaps(renderer)])
    to_pil_image(make_grid(pictures, SITUATIONS, padding=2, pad_value=1.0)).save(path, quality=90)


if __name__ == "__main__":
    main()
