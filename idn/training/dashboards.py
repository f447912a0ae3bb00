"""Dashboards: what TensorBoard, MLflow and W&B are told of a run beside its numbers, under the same keys."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from idn.files.digests import content_sha256
from idn.types import RunInput

CHOICES = "choices"
"""Key of the choices of groups, such as teacher=blend, among what is logged of a config."""

_DIGEST = 36
"""Most characters of a digest that MLflow keeps."""


@runtime_checkable
class Dashboard(Protocol):
    """A logger that shows more than numbers. Each method may be called by any process; the first one's counts."""

    saved_as: str | None
    """Key of a checkpoint that holds the id of the run, for one that goes on as the same; None where a folder does."""

    @property
    def version(self) -> Any:
        """The id of the run."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at a step of the optimizer, from 0, as of any logger."""
        ...

    def log_histogram(self, key: str, values: NDArray[np.float32], step: int) -> None:
        """How values, of any shape, are distributed at a step of the optimizer, from 0."""
        ...

    def log_picture(self, key: str, picture: NDArray[np.uint8], step: int, caption: str) -> None:
        """A picture, (H, W, 3), at a step of the optimizer, from 0."""
        ...

    def log_input(self, given: RunInput) -> None:
        """What the run was made from."""
        ...

    def log_product(self, path: Path, card: str, lineage: Mapping[str, str], best: bool) -> None:
        """The file that a run leaves, a text about it, and where it comes from.

        best: whether no validation of the run was better than the last one.
        """
        ...

    def log_report(self, page: Path) -> None:
        """The page of an evaluation (HTML)."""
        ...

    def alert(self, title: str, text: str) -> None:
        """What somebody should know now."""
        ...


def dashboards(loggers: Sequence[Any]) -> Iterator[Dashboard]:
    """Those of the loggers that are dashboards."""
    return (logger for logger in loggers if isinstance(logger, Dashboard))


def card(product: str, lineage: Mapping[str, str], metrics: Mapping[str, float], standing: str) -> str:
    """A text about the file that a run leaves (Markdown). standing: how it compares with the rest of its run."""
    known = [f"- {key.replace('_', ' ')}: {value}" for key, value in lineage.items()]
    reached = [f"| {key} | {value:.4f} |" for key, value in sorted(metrics.items())]
    return "\n".join([f"# {product}", "", *known, "", standing, "", "| metric | value |", "|---|---|", *reached, ""])


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config by the names of its options, with dots."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


class TensorBoardRun(pl.loggers.TensorBoardLogger):
    """TensorBoard in the folder of a run, with a table of few columns (HPARAMS).

    save_dir: of the event files.
    columns: options that the table shows, beside what the run has reached: choices of groups or names with dots. Those
        that a run does not have are left out.
    purge_step: what a lost attempt wrote after that step is not shown; None for a new run.
    """

    saved_as = None

    def __init__(self, save_dir: str | Path, columns: Sequence[str], purge_step: int | None = None) -> None:
        super().__init__(save_dir=save_dir, name="", version="", default_hp_metric=False, purge_step=purge_step)
        self.columns, self.shown, self.reached = list(columns), {}, {}

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Keep what the table shows; see `Logger.log_hyperparams`."""
        self.hparams.update(params)
        known = flat(params) | dict(params.get(CHOICES) or {})
        self.shown |= {name: _plain(known[name]) for name in self.columns if name in known}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See `Logger.log_metrics`."""
        super().log_metrics(dict(metrics), step)
        self.reached |= {key: float(value) for key, value in metrics.items() if key.startswith("val/")}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the row of the table, once the run has reached something; see `Logger.finalize`."""
        if self.reached and self.shown:
            from torch.utils.tensorboard.summary import hparams

            for summary in hparams(self.shown, self.reached):
                self.experiment._get_file_writer().add_summary(summary)
            self.reached = {}
        super().finalize(status)

    @rank_zero_only
    def log_histogram(self, key: str, values: NDArray[np.float32], step: int) -> None:
        """See `Dashboard`."""
        self.experiment.add_histogram(key, values, step)

    @rank_zero_only
    def log_picture(self, key: str, picture: NDArray[np.uint8], step: int, caption: str) -> None:
        """See `Dashboard`; the caption is a text of the same key."""
        self.experiment.add_image(key, picture, step, dataformats="HWC")
        self.experiment.add_text(key, caption, step)

    @rank_zero_only
    def log_input(self, given: RunInput) -> None:
        """See `Dashboard`; a text."""
        about = "".join(f"\n- {key}: {value}" for key, value in given.about.items())
        self.experiment.add_text(f"input/{given.kind}", f"**{given.name}**\n{about}")

    @rank_zero_only
    def log_product(self, path: Path, card: str, lineage: Mapping[str, str], best: bool) -> None:
        """See `Dashboard`; TensorBoard keeps no files."""
        self.experiment.add_text("product", f"{card}\n{path}")
        self.experiment.flush()

    @rank_zero_only
    def log_report(self, page: Path) -> None:
        """See `Dashboard`; where it lies."""
        self.experiment.add_text("eval/report", str(page))
        self.experiment.flush()

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """See `Dashboard`."""
        self.experiment.add_text("alert", f"**{title}** {text}")
        self.experiment.flush()


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


class MlflowRun(pl.loggers.MLFlowLogger):
    """A run of MLflow.

    tracking_uri: a database (sqlite:///FILE), or a server (http://...).
    tags: names with values; those without a value are left out.
    experiment: name of what the run belongs to.
    run_name: for people.
    run_id: of the run to go on with, None for a new one.
    keep_product: whether MLflow keeps a copy of the file that the run leaves.
    """

    saved_as = "mlflow_run"

    def __init__(
        self,
        tracking_uri: str,
        tags: Mapping[str, str | None],
        experiment: str = "idn",
        run_name: str | None = None,
        run_id: str | None = None,
        keep_product: bool = True,
    ) -> None:
        named = {name: value for name, value in tags.items() if value is not None}
        super().__init__(experiment, run_name, tracking_uri, named, run_id=run_id)
        self.goes_on, self.keep_product = run_id is not None, keep_product

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Note the config by the names of its options. Of a run that goes on, what is new: MLflow changes nothing."""
        known: Mapping[str, str] = {}
        if self.goes_on:
            known = self.experiment.get_run(self.run_id).data.params
            self.experiment.update_run(self.run_id, status="RUNNING")
        super().log_hyperparams({key: value for key, value in flat(params).items() if key not in known})

    @rank_zero_only
    def log_histogram(self, key: str, values: NDArray[np.float32], step: int) -> None:
        """See `Dashboard`; MLflow has no histograms: the tenths of the values."""
        tenths = np.quantile(values, np.linspace(0.1, 0.9, 9))
        self.log_metrics({f"{key}/p{10 * k}": float(value) for k, value in enumerate(tenths, 1)}, step)

    @rank_zero_only
    def log_picture(self, key: str, picture: NDArray[np.uint8], step: int, caption: str) -> None:
        """See `Dashboard`; the caption is the name of the file."""
        name = f"{key}/step_{step:06d} {caption}".replace("|", "")
        self.experiment.log_image(self.run_id, picture, f"{name}.png")

    @rank_zero_only
    def log_input(self, given: RunInput) -> None:
        """See `Dashboard`; MLflow calls all inputs datasets, and their kind a context."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        about = json.dumps(dict(given.about))
        digest = content_sha256(about.encode())[:_DIGEST]
        known = Dataset(given.name, digest, source_type="idn", source=about)
        self.experiment.log_inputs(self.run_id, [DatasetInput(known, [InputTag("mlflow.data.context", given.kind)])])

    @rank_zero_only
    def log_product(self, path: Path, card: str, lineage: Mapping[str, str], best: bool) -> None:
        """See `Dashboard`; the lineage becomes tags."""
        for key, value in lineage.items():
            self.experiment.set_tag(self.run_id, f"lineage.{key}", value)
        self.experiment.set_tag(self.run_id, "best", str(best).lower())
        self.experiment.log_text(self.run_id, card, "card.md")
        if self.keep_product:
            self.experiment.log_artifact(self.run_id, str(path))

    @rank_zero_only
    def log_report(self, page: Path) -> None:
        """See `Dashboard`; an artifact."""
        self.experiment.log_artifact(self.run_id, str(page))

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """See `Dashboard`; a tag."""
        self.experiment.set_tag(self.run_id, "alert", f"{title}: {text}")
