"""Angular margin loss (ArcFace): the classification head that trains a face recogniser."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.errors import OptionError
from idn.files.option_checks import require_number


class AngularMargin(nn.Module):
    """Additive angular margin (ArcFace, arXiv:1801.07698, Eq. 3): the true class must win by `margin` radians.

    embedding_dim: length of the embeddings.
    classes: number of identities.
    margin: radians, less than a right angle. Where angle + margin would pass pi, the logit goes on falling linearly,
        cos - margin * sin(margin), so that it stays monotonous.
    scale: factor on the cosines before the softmax, 1 or more.
    people: (classes, K), K <= embedding_dim, coordinates that are known of every identity: the class centres start
        there, rotated at random into the embedding, so that alike people are neighbours from the first step; None
        starts them at random.

    Raises OptionError for other numbers, and for embeddings shorter than K.
    """

    def __init__(
        self, embedding_dim: int, classes: int, margin: float, scale: float, people: Tensor | None = None
    ) -> None:
        super().__init__()
        require_number("margin", margin, 0, 1.57)
        require_number("scale", scale, 1)
        self.margin, self.scale = margin, scale
        start = torch.randn(classes, embedding_dim) if people is None else _embedded(people, embedding_dim)
        self.centres = nn.Parameter(F.normalize(start, dim=1))

    def logits(self, embedding: Tensor) -> Tensor:
        """(N, D) embeddings -> (N, classes) cosines with the class centres, in single precision."""
        with torch.autocast(embedding.device.type, enabled=False):
            return F.normalize(embedding.float(), dim=1) @ F.normalize(self.centres.float(), dim=1).T

    def forward(self, cosines: Tensor, labels: Tensor, eased: float = 1.0) -> Tensor:
        """cosines: (N, classes) of `logits`; labels: (N,) ints. eased: share of the margin in force, in [0, 1].

        Returns (N,): cross-entropy of every sample.
        """
        margin = cosines.new_tensor(self.margin * eased)
        true = cosines.gather(1, labels[:, None])
        sine = (1 - true.square()).clamp_min(1e-7).sqrt()
        shifted = true * margin.cos() - sine * margin.sin()
        harder = torch.where(true > -margin.cos(), shifted, true - margin * margin.sin())
        return F.cross_entropy(self.scale * cosines.scatter(1, labels[:, None], harder), labels, reduction="none")


def _embedded(people: Tensor, dim: int) -> Tensor:
    """(C, K) -> (C, dim): standardised, then by a random isometry."""
    if people.shape[1] > dim:
        known = people.shape[1]
        raise OptionError(
            "embedding_dim",
            dim,
            f"is less than the {known} numbers that the data know of every person: give {known}",
        )
    spread = (people - people.mean(0)) / people.std(0).clamp_min(1e-6)
    return spread @ torch.linalg.qr(torch.randn(dim, people.shape[1])).Q.T
