"""Metric: a number with its name, its meaning and its better direction."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Better = Literal["higher", "lower"]


class Metric(NamedTuple):
    """What reports, tables and sweeps know about a number that a validation logs."""

    name: str
    """It is logged as `STAGE/NAME`."""
    meaning: str
    """For people, with its unit."""
    better: Better | None
    """Which way it improves; None for one that only describes the data or the teacher."""
    measure: Callable[[Any], "Tensor | None"] | None = None
    """(K,) values, which are averaged, or None where they cannot be known; None for what a training computes itself."""
    every_step: bool = False
    """Whether it is cheap enough to be measured on every training batch, too."""
    column: str | None = None
    """Head of its column in a table of several runs, for the few that stand there."""
    stage: str = "val"
    """When it is found: in a validation, or of what a run leaves, once it is `deployed`."""

    @property
    def key(self) -> str:
        """Under which it is logged."""
        return f"{self.stage}/{self.name}"


def measure(metrics: Sequence[Metric], seen: Any, training: bool = False) -> "dict[str, Tensor]":
    """By name, the (K,) values of all metrics that can be known of what was `seen`.

    training: only those that are measured at every step.
    """
    wanted = [metric for metric in metrics if metric.measure is not None and (metric.every_step or not training)]
    values = {metric.name: metric.measure(seen) for metric in wanted}
    return {name: value for name, value in values.items() if value is not None}


def known(metrics: Sequence[Metric], values: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """The metrics that have a value, in their order. values: by `val/NAME`."""
    return [(metric, values[metric.key]) for metric in metrics if metric.key in values]
