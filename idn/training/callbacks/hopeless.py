"""Early end of hopeless runs (pruning): what a validation found is told to whoever searches, which may end the run."""

from collections.abc import Callable, Mapping

import pytorch_lightning as pl

Report = Callable[[int, float, bool], None]
"""Step, metric at that step, whether it is the last one; raises Hopeless to end the run."""


class StopHopeless(pl.Callback):
    """Reports the metric of every validation of a training, and lets `report` end it.

    choose: from what was logged, by key, the key of the metric.
    report: is told step, value, and whether the run is at its end.
    """

    def __init__(self, choose: Callable[[Mapping[str, float]], str], report: Report) -> None:
        self.choose, self.report = choose, report

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Report."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        logged = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        step = trainer.global_step
        self.report(step, logged[self.choose(logged)], step >= trainer.max_steps)
