"""Identity similarity: the cosine of two embeddings."""

import torch.nn.functional as F
from torch import Tensor


def identity_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between embeddings, (N,) in [-1, 1]. a, b: (N, D), of any length above 0.

    Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return F.cosine_similarity(a, b, dim=1)
