"""One batch, and what every network says of it; the metrics are measured on that."""

from typing import NamedTuple

from idn.metrics.swaps import SeenSwaps
from idn.training.modules.supervision import SupervisedBatch
from idn.types import IdentityFeatures, Prediction, Supervision, SwapBatch, Verdict


class Observed(NamedTuple):
    """One batch, and what every network says of it."""

    source: IdentityFeatures
    """Who the sources are, one row per pair."""
    supervised: SupervisedBatch
    """What the swaps should be, and how far to believe that."""
    prediction: Prediction
    """The swaps."""
    supervision: Supervision
    """What the losses compare them with."""
    real: Verdict | None
    """The discriminator's, of what it is shown as photographs, where there is one."""


def seen_swaps(seen: Observed, batch: SwapBatch) -> SeenSwaps:
    """What the metrics are told that cost no further look. batch: the one that was observed."""
    embedding, supervised = seen.prediction.embedding, seen.supervised
    taught = None if supervised.exact is None else ~supervised.exact
    if taught is not None and supervised.known is not None:
        taught = taught & supervised.known
    return SeenSwaps(
        image=seen.prediction.image.detach().clamp(0, 1),
        batch=batch,
        embedding=None if embedding is None else embedding.detach(),
        source=seen.source.embedding,
        answer=supervised.answer,
        answer_cosine=supervised.cosine,
        trust=supervised.trust,
        taught=taught,
    )
