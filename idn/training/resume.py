"""Starting a run, from the beginning or from a checkpoint. `data.loaders.StreamData` knows where in the data it is."""

import pickle
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from packaging.version import Version
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from idn.errors import OptionError, UserError
from idn.files.remote import local
from idn.files.run_folder import CHECKPOINTS, LAST, states
from idn.files.tensors import Difference
from idn.training.checkpoint_io import WholeCheckpoints
from idn.training.dashboards import dashboards
from idn.training.loggers import ResumableCsvLogger

_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What those raise that find something in a checkpoint which they have not saved like that."""

Groups = list[dict[str, Any]]
"""The options of an optimizer, one set for each of its groups of parameters."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """A checkpoint to go on from, its tensors still in the file. Raises UserError for anything else.

    path: also a URL.
    """
    path = local(path)
    if path.is_dir():
        wanted = f"is a folder without {CHECKPOINTS}/{LAST}: give that of a run, or a .ckpt file"
        raise OptionError("resume", path, wanted)
    if not path.is_file():
        raise OptionError("resume", path, "does not exist: give the path of a .ckpt file of an earlier run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _check(checkpoint)
    except pickle.UnpicklingError as error:
        raise OptionError("resume", path, "holds more than tensors and numbers, and is not opened") from error
    except Exception as error:  # what a damaged file makes its reader raise can be almost anything
        raise OptionError("resume", path, "is not a checkpoint of a training run, or it is damaged") from error
    return checkpoint


def _check(checkpoint: Any) -> None:
    """Raise an error of any kind if this lacks what is read of a checkpoint before a run goes on from it."""
    step = checkpoint["global_step"] if isinstance(checkpoint, Mapping) else None
    if type(step) is not int or step < 0 or not isinstance(checkpoint["state_dict"], Mapping):
        raise ValueError("no step, or no weights")
    if any(isinstance(count, int) and count < 0 for count in _numbers(checkpoint.get("loops", {}))):
        raise ValueError("a count below 0")
    Version(checkpoint["pytorch-lightning_version"])


def _numbers(value: Any) -> Iterator[Any]:
    """What lies at the ends of nested dictionaries."""
    if not isinstance(value, Mapping):
        yield value
        return
    for inner in value.values():
        yield from _numbers(inner)


def newest_usable(folder: Path) -> Path | None:
    """The newest checkpoint in the folder of a run that can be read, None if there is none.

    Those that a kill or a full disk cut short are passed over, and a line says so.
    """
    for path in states(folder):
        try:
            read_checkpoint(path)
        except OptionError as error:
            print(f"passed over {path}: {error.wanted}", file=sys.stderr)
        else:
            return path
    return None


def check_resume(resume: str | Path | None, trainer: pl.Trainer) -> None:
    """Raise UserError if the checkpoint to continue is missing, unreadable, or beyond the end of the run.

    One that stands at the end is welcome: what was missing then, validation and result, is made up for.
    """
    if resume is None:
        return
    step = read_checkpoint(Path(str(resume)))["global_step"]
    if step > trainer.max_steps:
        raise OptionError("resume", resume, f"is at step {step}: give the run more steps to go on")


class Resumption(pl.Callback):
    """Lets a run that goes on do what it would have done without a break, and the config decide about its optimizers.

    A checkpoint brings the state of the optimizers, and with it the rates, decays and momenta of the earlier run. Those
    are set again to what the config says, the rates as the schedule has them at that step, and so is the number of
    batches that make a step. A validation that the run was stopped in, or before, is made up for as a whole, and one
    that is due at the end of every run is held. `validated` is the step of the last validation, None before the first.
    """

    def __init__(self) -> None:
        self.configured: list[Groups] = []
        self.validated: int | None = None
        self.owed = self.at_end = False

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: MutableMapping[str, Any]
    ) -> None:
        """Find out what the state still lacks, and tell the trainer where it stands."""
        step: int = checkpoint["global_step"]
        batches = step * trainer.accumulate_grad_batches
        due = _validates_after(trainer, batches)
        self.at_end = step == trainer.max_steps
        self.owed = self.at_end or (due and checkpoint["callbacks"].get(self.state_key, {}).get("validated") != step)
        _stand_after(checkpoint["loops"]["fit_loop"], step, batches, due, self.owed)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Look at the optimizers before the checkpoint fills them. Until it has started, a run has a step to go."""
        self.configured = [_options(optimizer) for optimizer in trainer.optimizers]
        trainer.fit_loop.epoch_loop.max_steps += self.at_end

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Set what the checkpoint has changed. Raises UserError if it is that of another kind of optimizer."""
        trainer.fit_loop.epoch_loop.max_steps -= self.at_end
        schedules = {id(config.scheduler.optimizer): config.scheduler for config in trainer.lr_scheduler_configs}
        for optimizer, groups in zip(trainer.optimizers, self.configured, strict=True):
            _configure(optimizer, groups, schedules.get(id(optimizer)))
        for logger in trainer.loggers:
            if isinstance(logger, ResumableCsvLogger):
                logger.cut(trainer.global_step, validated=not self.owed)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remember when that was."""
        self.validated = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Validate at the end: a run whose length is no multiple of the interval, and one that only lacks that."""
        if self.validated == trainer.global_step or not trainer.enable_validation:
            return
        loop = trainer.fit_loop.epoch_loop
        counted, loop._batches_that_stepped = loop._batches_that_stepped, trainer.global_step - 1
        trainer.validating = True
        loop.val_loop.run()
        trainer.training = True
        loop._batches_that_stepped = counted

    def state_dict(self) -> dict[str, int | None]:
        """Whether the state was validated, for the run that goes on with it."""
        return {"validated": self.validated}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: MutableMapping[str, Any]
    ) -> None:
        """Note which run of each dashboard it is, for the one that goes on."""
        for dashboard in dashboards(trainer.loggers):
            if dashboard.saved_as is not None:
                checkpoint[dashboard.saved_as] = dashboard.version


def _validates_after(trainer: pl.Trainer, batches: int) -> bool:
    """Whether a run validates on its way when it has seen so many batches."""
    interval = trainer.val_check_interval
    counted = type(interval) is int and trainer.check_val_every_n_epoch is None
    return counted and trainer.enable_validation and batches % interval == 0


def _stand_after(loops: MutableMapping[str, Any], step: int, batches: int, due: bool, owed: bool) -> None:
    """Let the progress of a trainer's loops say that a step is done, whenever in it or after it the state was saved.

    By the number of batches the trainer knows when a step is due, and a validation; one of a run that accumulated
    otherwise would put both out of step.
    batches: seen in all. due: whether the step ends with a validation. owed: whether that one is still to begin.
    """
    names = ("ready", "started", "processed", "completed")
    loops["epoch_loop.batch_progress"] |= {part: dict.fromkeys(names, batches) for part in ("total", "current")}
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = step - due  # it counts a step after its validation
    began = {"ready": 1, "started": 1} if due and owed else {}  # a first batch that was not completed: all once more
    validation = {"total": dict.fromkeys(names, 0) | began, "current": dict.fromkeys(names, 0)}
    loops["epoch_loop.val_loop.batch_progress"] |= validation


def _options(optimizer: Optimizer) -> Groups:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def _configure(optimizer: Optimizer, groups: Groups, schedule: LRScheduler | None) -> None:
    """Give an optimizer its options of before, and its schedule the rates that these hold."""
    for k, (restored, wanted) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        if restored.keys() - {"params"} != wanted.keys():
            raise UserError(
                f"the checkpoint is of a run with another optimizer than {type(optimizer).__name__}: choose the same "
                "optim as there"
            )
        rate = restored["lr"]
        restored |= wanted
        if isinstance(schedule, LambdaLR):
            schedule.base_lrs[k] = wanted["initial_lr"]
            restored["lr"] = wanted["initial_lr"] * schedule.lr_lambdas[k](schedule.last_epoch)
        elif schedule is not None and schedule.base_lrs[k]:
            restored["lr"] = rate * (wanted["initial_lr"] / schedule.base_lrs[k])
            schedule.base_lrs[k] = wanted["initial_lr"]


def start(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resume: str | Path | None
) -> None:
    """Run the trainer, from a checkpoint or from the beginning, to a validation at its last step.

    What the config says about the optimizers holds, whatever the checkpoint says. Raises UserError if the checkpoint
    does not fit.
    """
    check_resume(resume, trainer)
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    trainer.callbacks.insert(0, Resumption())
    try:
        trainer.fit(module, data, ckpt_path=None if resume is None else local(resume), weights_only=True)
    except _MISFITS as error:
        restoring = trainer._checkpoint_connector._loaded_checkpoint  # empty before and after
        if isinstance(error, UserError) or not restoring:
            raise
        saved = {key: value for key, value in restoring["state_dict"].items() if isinstance(value, torch.Tensor)}
        unfit = Difference.between(saved, module.state_dict())
        why = f"of its tensors: {unfit}" if any(unfit) else " ".join(f"{type(error).__name__}: {error}".split())[:300]
        said = f"belongs to another configuration, or it is damaged ({why}): go on with its own verb and options"
        raise OptionError("resume", resume, said) from error
