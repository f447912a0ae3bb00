"""FrozenAnswers: what frozen networks say of a batch, which is kept while the batch is shown again."""

from typing import NamedTuple

from torch import Tensor

from idn.training.modules.supervision import SupervisedBatch
from idn.types import IdentityFeatures


class FrozenAnswers(NamedTuple):
    """What frozen networks say of a batch, whatever the one that learns makes of it."""

    faces: IdentityFeatures
    """Who the sources are, each once."""
    source: IdentityFeatures
    """The same, one row per pair."""
    supervised: SupervisedBatch
    """What the swaps should be, and how far to believe that."""
    perceptual: tuple[Tensor, ...]
    """Perceptual maps of the answers, (N, C_i, h_i, w_i) each, where a loss compares them."""
    target_perceptual: tuple[Tensor, ...]
    """The same of the targets."""
