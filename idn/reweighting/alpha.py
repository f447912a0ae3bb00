"""The formula of trust, for everybody who weighs a swapped picture."""

from torch import Tensor


def alpha(cosine: Tensor, quality: Tensor | None = None) -> Tensor:
    """cos(z(picture), z(source))^2 * Q(picture) (arXiv:2201.03808, loss reweighting), (N,) in [0, 1].

    cosine: (N,) in [-1, 1], of the identities of picture and source. A negative one means that the picture shows
    somebody else: it counts as 0, although its square would not. quality: (N,), held to [0, 1]; 1 if None.
    """
    seen = cosine.clamp(0, 1).square()
    return seen if quality is None else seen * quality.clamp(0, 1)
