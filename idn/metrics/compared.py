"""Comparing runs: the metric that a sweep takes by itself, and which way each one improves."""

from collections.abc import Collection

from idn.errors import OptionError
from idn.metrics.deployed import DEPLOYED_METRICS
from idn.metrics.metric import Metric
from idn.metrics.scoring import SCORER_METRICS
from idn.metrics.swaps import SWAP_METRICS
from idn.metrics.verification import VERIFICATION_METRICS

UNSCALED = ("val/swap_gain", "val/identity_recogniser", "val/psnr_teacher", "val/identity_swap")
"""What runs are compared by, the first of them that is known. No weight of a loss, no rate and no trust scales any of
them, as they do the loss: a run that doubts its teacher has a smaller one, and would win by doubt alone. The last one
is asked for what has neither truth nor teacher nor a second encoder."""

METRICS: dict[str, Metric] = {
    metric.key: metric for metric in (*SCORER_METRICS, *VERIFICATION_METRICS, *SWAP_METRICS, *DEPLOYED_METRICS)
}
"""By key, all that a run may end with."""


def usual_metric(known: Collection[str]) -> str:
    """The metric to compare runs by that have logged `known`. Raises OptionError if they have none of them."""
    for key in UNSCALED:
        if key in known:
            return key
    raise OptionError("metric", None, f"finds none of {', '.join(UNSCALED)}: choose one of {_listed(known)}")


def maximised(key: str) -> bool:
    """Whether more of a metric is better. Raises OptionError for one that has no better direction, or is not known."""
    name = METRICS.get(key)
    if name is None and key.startswith("val/loss_"):  # a part of an objective
        return False
    if name is None or name.better is None:
        said = "is no metric" if name is None else "has no better direction"
        raise OptionError("metric", key, f"{said}: choose of {_listed([k for k, m in METRICS.items() if m.better])}")
    return name.better == "higher"


def _listed(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)) or "nothing: the run was not validated"
