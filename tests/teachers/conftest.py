"""Drawn people and a stand-in for a recogniser, for the teachers of published families."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch


def strangers(n: int = 2, size: int = 64) -> SwapBatch:
    """Pairs of people who all differ, anywhere in any light."""
    g = torch.Generator().manual_seed(1)
    renderer = FaceRenderer()
    drawn = renderer.render(renderer.sample_identity(2 * n, g), renderer.sample_attributes(2 * n, g), size)
    return SwapBatch(drawn.image[:n], drawn.image[n:], drawn.face[n:], torch.zeros(n, dtype=torch.bool))


def swaps(n: int, size: int = 64) -> SwapBatch:
    """Pairs as a student is taught with, some of one person, with the exact swap."""
    return ProceduralSwaps(FaceRenderer(), size, n, seed=1)[0]


class GridRecogniser(Frozen):
    """Mean colours of a grid, through a matrix of random numbers from torch's global generator.

    Subclasses bear the name of the recogniser that they stand for.
    """

    name, licence = "nobody", "Apache-2.0"
    embedding_dim, feature_channels, feature_size = 512, 3, 7

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(147, 512)
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        features = F.adaptive_avg_pool2d(images, 7)
        return IdentityFeatures(F.normalize(self.embed(features.flatten(1) - 0.5)), features)
