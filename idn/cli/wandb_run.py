"""Weights & Biases: a run with its name, group and tags, the best values as its summary, the student as an artifact."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from idn.metrics.compared import METRICS
from idn.types import RunInput

STEP = "trainer/global_step"
"""What all curves are drawn over."""


class WandbRun(pl.loggers.WandbLogger):
    """A run of W&B.

    project: it belongs to.
    save_dir: where it is written to disk.
    name: for people.
    group: of the runs of a sweep, None outside.
    job_type: what kind of run it is, such as train.
    tags: to find it by.
    id: of the run to go on with, None for a new one.
    offline: write to disk only; `wandb sync` sends it later.
    keep_product: whether the file that the run leaves becomes an artifact.
    """

    saved_as = "wandb_run"

    def __init__(
        self,
        project: str = "idn",
        save_dir: str | Path = ".",
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        id: str | None = None,
        offline: bool = False,
        keep_product: bool = True,
    ) -> None:
        more = {"group": group, "job_type": job_type, "tags": list(tags)}
        super().__init__(name=name, save_dir=save_dir, offline=offline, id=id, project=project, **more)
        self.keep_product = keep_product

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Note the config, and of which metrics the best value counts; see `Logger.log_hyperparams`."""
        super().log_hyperparams(dict(params))
        for key, metric in METRICS.items():
            if metric.better is not None:
                best = "max" if metric.better == "higher" else "min"
                self.experiment.define_metric(key, step_metric=STEP, step_sync=True, summary=best)

    @rank_zero_only
    def log_histogram(self, key: str, values: NDArray[np.float32], step: int) -> None:
        """See `Dashboard`."""
        import wandb

        self.log_metrics({key: wandb.Histogram(values)}, step)

    @rank_zero_only
    def log_picture(self, key: str, picture: NDArray[np.uint8], step: int, caption: str) -> None:
        """See `Dashboard`."""
        self.log_image(key, [picture], step, caption=[caption])

    @rank_zero_only
    def log_input(self, given: RunInput) -> None:
        """See `Dashboard`; an artifact that the run uses, of which a description is kept, not the thing itself."""
        import wandb

        name = re.sub(r"[^\w.-]+", "-", f"{given.kind}-{given.name}")
        artifact = wandb.Artifact(name, given.kind, metadata=dict(given.about))
        with artifact.new_file("about.json") as file:
            json.dump(dict(given.about), file, indent=2)
        # what `use_artifact` does with a new one; that waits for the server, and refuses to work offline
        self.experiment._log_artifact(artifact, is_user_created=True, use_after_commit=True)

    @rank_zero_only
    def log_product(self, path: Path, card: str, lineage: Mapping[str, str], best: bool) -> None:
        """See `Dashboard`; the artifact holds the file, its card, and the lineage as metadata."""
        import wandb

        if not self.keep_product:
            return
        name = f"{path.stem}-{self.experiment.id}"
        artifact = wandb.Artifact(name, "model", description=card, metadata=dict(lineage))
        artifact.add_file(str(path), policy="immutable")
        with artifact.new_file("card.md") as file:
            file.write(card)
        self.experiment.log_artifact(artifact, aliases=["latest", *(["best"] if best else [])])

    @rank_zero_only
    def log_report(self, page: Path) -> None:
        """See `Dashboard`; a panel."""
        import wandb

        self.experiment.log({"eval/report": wandb.Html(str(page))})

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """See `Dashboard`."""
        self.experiment.alert(title=title, text=text, level="ERROR")
