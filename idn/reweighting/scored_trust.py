"""Trust that also asks a quality scorer, from the path of its file."""

from pathlib import Path

from idn.reweighting.scorer import open_scorer
from idn.reweighting.trust import Trust


def quality_trust(scorer: str | Path | None) -> Trust:
    """alpha = cos(z(teacher), z(source))^2 * Q(teacher) with the scorer of a file.

    scorer: the file that `idn train-scorer` wrote. Raises UserError if there is none or it is of another kind.
    """
    return Trust("identity_quality", open_scorer(scorer))
