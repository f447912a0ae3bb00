"""The quality scorer Q: a network that says how good a teacher's picture is."""

from pathlib import Path

import timm
from torch import Tensor

from idn.errors import UserError
from idn.frozen import Frozen
from idn.images import normalize, resize
from idn.weights import load_strict, read_tensors

SCORER_BACKBONE = "resnet18"
SCORER_SIZE = 224


class QualityScorer(Frozen):
    """Frozen ResNet-18 regressor (arXiv:2201.03808, loss reweighting): picture -> completed fraction of training.

    weights: a file with the tensors of timm's `resnet18` with one output, whose sigmoid is the score.
    Raises UserError when the file is missing or holds another network.
    """

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        if weights is None:
            raise UserError("reweight=identity_quality needs reweight.scorer.weights=FILE, a trained quality scorer")
        self.net = timm.create_model(SCORER_BACKBONE, pretrained=False, num_classes=1)
        load_strict(self.net, read_tensors(Path(weights)), f"quality scorer {weights}")
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] -> (N,) in (0, 1)."""
        return self.net(normalize(resize(images, SCORER_SIZE))).squeeze(1).sigmoid()
