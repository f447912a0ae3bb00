"""Kinds of training run: student, teacher, scorer, encoder. What each of them saves in the end, and what it reports."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl

from idn.data.labelled_faces import RecognitionData
from idn.data.loaders import StreamData, SwapData
from idn.encoders.trained import save_trained
from idn.reweighting.scorer import Kind, ScorerNotes, save_scorer
from idn.training.modules.adversarial import check_trainer
from idn.training.modules.quality import QualityTraining
from idn.training.modules.recognition import RecognitionTraining
from idn.training.modules.supervision import Declared, terms
from idn.training.modules.swap_training import SwapTraining
from idn.training.report import print_encoder_report, print_scorer_report, print_student_report, print_teacher_report
from idn.types import RunInput


class TrainingRun(ABC):
    """A module, the data it learns from, and what becomes of it: all that `idn.training.fit.fit` needs to know.

    A new kind of run is a subclass. `product` is the name of the file that it leaves.
    """

    product: ClassVar[str]
    module: pl.LightningModule
    data: pl.LightningDataModule

    def begin(self, trainer: pl.Trainer) -> None:
        """Before the first step. Raises UserError for a trainer that does not fit; says what a user must know now."""
        return

    @abstractmethod
    def save(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Write the product. metrics: of the last validation. Called by one process."""

    @abstractmethod
    def report(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Print what was reached and where everything is. path: of the product."""

    def lineage(self) -> dict[str, str]:
        """Where the product comes from: who taught it, which encoder it reads, their licences, what it is fed."""
        return {}

    def inputs(self) -> list[RunInput]:
        """The networks that the run was given, which do not learn."""
        return []

    def summary(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What `summary.json` says of the run: the metrics of its last validation."""
        return dict(metrics)


@dataclass(frozen=True)
class StudentRun(TrainingRun):
    """A distillation; leaves the averaged student, whose file says where it comes from and what to feed it."""

    module: SwapTraining
    data: SwapData
    product: ClassVar[str] = "student.safetensors"

    def begin(self, trainer: pl.Trainer) -> None:
        """Name the teacher and its terms. Raises UserError if the trainer does not fit a discriminator."""
        if self.module.adversary is not None:
            check_trainer(trainer)
        if trainer.is_global_zero:
            notes = self.module.lineage()
            licence, commercial = notes["teacher_licence"], notes["teacher_commercial_use"]
            print(f"teacher: {notes['teacher']}; licence: {licence}; commercial use {commercial}")

    def save(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.save`."""
        fraction = trainer.global_step / trainer.max_steps
        self.module.save(path, fraction, {"metrics": json.dumps(dict(metrics))})

    def lineage(self) -> dict[str, str]:
        """See `TrainingRun.lineage`."""
        return {**self.module.lineage(), **self.module.notes}

    def inputs(self) -> list[RunInput]:
        """See `TrainingRun.inputs`."""
        return self.module.inputs()

    def report(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.report`."""
        print_student_report(metrics, path.parent, path, trainer)


@dataclass(frozen=True)
class TeacherRun(TrainingRun):
    """The training of a swapper; leaves its average, which `teachers.trained_here` opens."""

    module: SwapTraining
    data: SwapData
    product: ClassVar[str] = "teacher.safetensors"

    def begin(self, trainer: pl.Trainer) -> None:
        """Raises UserError if the trainer does not fit two networks that train each other."""
        check_trainer(trainer)

    def save(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.save`."""
        self.module.save(path, trainer.global_step / trainer.max_steps)

    def lineage(self) -> dict[str, str]:
        """See `TrainingRun.lineage`."""
        return {**self.module.lineage(), **self.module.notes}

    def inputs(self) -> list[RunInput]:
        """See `TrainingRun.inputs`."""
        return self.module.inputs()

    def report(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.report`."""
        print_teacher_report(metrics, path.parent, path, self.module)


@dataclass(frozen=True)
class EncoderRun(TrainingRun):
    """The training of an identity encoder.

    licence: of the weights that come out. command: the line that trained them, kept in the file.
    """

    module: RecognitionTraining
    data: RecognitionData
    licence: str
    command: str
    product: ClassVar[str] = "encoder.safetensors"

    def begin(self, trainer: pl.Trainer) -> None:
        """Raises OptionError if there are fewer verification pairs of a kind than folds."""
        self.module.check_pairs(self.data.least_pairs)

    def save(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.save`."""
        save_trained(self.module.network, path, self.licence, self.command, dict(metrics))

    def report(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.report`."""
        print_encoder_report(metrics, path)


@dataclass(frozen=True)
class ScorerRun(TrainingRun):
    """The training of a quality scorer.

    kind: what its labels are. record: of the teacher whose pictures it saw. command: the line that trained it, as a
    shell takes it.
    """

    module: QualityTraining
    data: StreamData
    kind: Kind
    record: Declared
    command: str
    product: ClassVar[str] = "scorer.safetensors"

    def _notes(self, metrics: Mapping[str, float]) -> ScorerNotes:
        return ScorerNotes(kind=self.kind, **terms(self.record), command=self.command, metrics=dict(metrics))

    def save(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.save`."""
        save_scorer(self.module.network, path, self._notes(metrics))

    def report(self, path: Path, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """See `TrainingRun.report`."""
        print_scorer_report(self._notes(metrics), self.module.levels, path, trainer.global_step)

    def summary(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """The metrics, and what the scorer says by grade."""
        levels = [
            {name: value for name, value in level._asdict().items() if math.isfinite(value)}
            for level in self.module.levels
        ]
        return {**metrics, "kind": self.kind, "teacher": self.record.name, "levels": levels}
