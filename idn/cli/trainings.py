"""From a composed config to a training run: what the verbs that train and `idn.train` have in common."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from idn.cli.config_tree import asks_teacher
from idn.cli.instantiate import build, build_pairs, run_dir
from idn.cli.next_commands import after_training, option
from idn.cli.options.typed import refuse_useless, typed
from idn.errors import OptionError, UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from idn.data.loaders import SwapData
    from idn.training.fit import Result
    from idn.training.run_kinds import EncoderRun, ScorerRun, StudentRun, TeacherRun, TrainingRun
    from idn.types import IdentityEncoder, RunInput


def run_training(verb: str, cfg: DictConfig) -> "Result":
    """Train what the config of a verb describes, in the folder that Hydra made for it."""
    from idn.files.atomic import remove_drafts
    from idn.training.dashboards import dashboards
    from idn.training.fit import fit, read_result
    from idn.training.loggers import closing
    from idn.training.multi_process import must_start, one_speaks
    from idn.training.record import write_record

    bare = _checked_trainer(verb, cfg)
    if must_start(bare):
        _run_processes(_same_command(verb), bare.world_size)
        return read_result(run_dir())
    run = build_run(verb, cfg, typed(), run_dir())
    trainer = build_trainer(cfg)
    _report_trial(cfg, trainer)
    if trainer.is_global_zero:
        remove_drafts(run_dir(), *(place for place in run_dir().iterdir() if place.is_dir()))
        resolved = OmegaConf.to_container(cfg, resolve=True)
        digest = write_record(run_dir(), [verb, *typed()], resolved, run.data)["data"]
        shown = list(dashboards(trainer.loggers))
        for given in _inputs(cfg, run, digest) if shown else ():
            for dashboard in shown:
                dashboard.log_input(given)
    with closing(trainer.loggers), one_speaks(trainer):
        result = fit(trainer, run, run_dir(), cfg.resume)
    if trainer.is_global_zero:
        for line in after_training(verb, cfg, result.path):
            print(line)
    return result


def _inputs(cfg: DictConfig, run: "TrainingRun", digest: Mapping[str, str]) -> "list[RunInput]":
    """What a run was made from. digest: of its data."""
    from idn.cli.run_names import run_choices
    from idn.files.digests import file_sha256
    from idn.files.remote import local
    from idn.types import RunInput

    choices, where = run_choices(), OmegaConf.select(cfg, "data.root")
    about = {**digest, **({} if where is None else {"root": str(where)})}
    found = [RunInput("data", choices.get("encoder_data") or choices["data"], about), *run.inputs()]
    if (start := cfg.get("start")) is not None:
        found.append(RunInput("student", Path(str(start)).stem, {"sha256": file_sha256(local(start))}))
    return found


def _report_trial(cfg: DictConfig, trainer: "pl.Trainer") -> None:
    """Let a search, if the run is one of its trials, end it early."""
    from idn.cli.sweeps.search import current_trial
    from idn.metrics.compared import usual_metric
    from idn.training.callbacks.hopeless import StopHopeless

    if (trial := current_trial()) is not None:
        (metric,) = cfg.metric if OmegaConf.is_list(cfg.metric) else [cfg.metric]
        choose = usual_metric if metric is None else lambda logged: _logged(str(metric), logged)
        trainer.callbacks.append(StopHopeless(choose, trial.report))


def _logged(metric: str, logged: Mapping[str, float]) -> str:
    """The metric. Raises OptionError if a validation has not logged it."""
    if metric not in logged:
        raise OptionError("metric", metric, f"was not logged: choose one of {', '.join(sorted(logged))}")
    return metric


def build_trainer(cfg: DictConfig) -> "pl.Trainer":
    """The trainer with its callbacks and loggers, which learn the whole config.

    A callback or logger that is null is left out, and so is what needs a logger where there is none. The interval
    between validations, which Lightning counts in batches, is made one of steps.
    """
    from pytorch_lightning.callbacks import Checkpoint, LearningRateMonitor, ProgressBar

    from idn.cli.run_names import run_choices
    from idn.training.dashboards import CHOICES

    loggers, callbacks = _members(cfg, "logger"), _members(cfg, "callbacks")
    noted = {**OmegaConf.to_container(cfg, resolve=True), CHOICES: run_choices()}
    for logger in loggers:
        logger.log_hyperparams(noted)
    callbacks = [one for one in callbacks if loggers or not isinstance(one, LearningRateMonitor)]
    clipping = {} if cfg.get("discriminator") is None else {"gradient_clip_val": None}  # its training clips by itself
    interval, batches = cfg.trainer.val_check_interval, cfg.trainer.accumulate_grad_batches
    return build(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        val_check_interval=interval * batches if isinstance(interval, int) else interval,
        enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
        enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
        **clipping,
    )


def _members(cfg: DictConfig, group: str) -> list[Any]:
    """What a group of the config makes, by any names; the group itself and its members may be null."""
    node = cfg.get(group)
    return [] if node is None else [made for made in build(node).values() if made is not None]


def build_run(verb: str, cfg: DictConfig, words: Sequence[str], out: Path) -> "TrainingRun":
    """What a verb trains, on what, exactly as it would. words: what was typed after it. out: folder of the run.

    Raises UserError for a run without end and for a trainer that does not fit, before anything is loaded.
    """
    import pytorch_lightning as pl

    prepare, trainer = RUNS[verb], _checked_trainer(verb, cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    return prepare(cfg, words, out, trainer)


def _checked_trainer(verb: str, cfg: DictConfig) -> "pl.Trainer":
    """The trainer that a config describes, without loggers and callbacks: to look at before anything is loaded.

    Raises UserError for a run without end, and for a trainer that does not fit.
    """
    from idn.training.modules.adversarial import check_trainer
    from idn.training.multi_process import check_processes, check_single

    if (cfg.trainer.max_steps or 0) < 1:
        raise OptionError("trainer.max_steps", cfg.trainer.max_steps, "must be at least 1: a run needs an end")
    trainer = build(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    if cfg.get("discriminator") is not None:
        check_trainer(trainer)
    elif verb == "train-scorer":
        check_single(trainer, f"for `idn {verb}`", "one process makes the pictures to learn from")
    else:
        check_processes(trainer)
    return trainer


def _run_processes(words: Sequence[str], count: int) -> None:
    """The processes of a run. In a sweep, where others follow, their failure is an error like any other."""
    from idn.training.multi_process import reason, run_processes

    try:
        run_processes(words, count)
    except SystemExit as failed:
        if HydraConfig.get().mode != RunMode.MULTIRUN or failed.code >= 128:
            raise
        raise UserError(reason(failed) or "its processes have failed, and said why above") from None


def _same_command(verb: str) -> list[str]:
    """What makes another process train the same, in the folder that is there already."""
    return [verb, *typed(), option("hydra.run.dir", str(run_dir())), "hydra.output_subdir=null"]


def _student(cfg: DictConfig, words: Sequence[str], out: Path, trainer: "pl.Trainer") -> "StudentRun":
    from idn.training.build import build_distillation
    from idn.training.run_kinds import StudentRun

    data, encoder = build_pairs(cfg)
    taught = asks_teacher(cfg)
    module, data = build_distillation(
        data=data,
        encoder=encoder,
        supervision=build(cfg.supervision),
        teacher=build(cfg.teacher) if taught else None,
        trust=build(cfg.reweight) if taught else None,
        student=build(cfg.student),
        perceptual=build(cfg.perceptual),
        objective=build(cfg.loss),
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
        module=build(cfg.distillation, _partial_=True, clip=cfg.trainer.gradient_clip_val),
        discriminator=None if cfg.get("discriminator") is None else build(cfg.discriminator, _partial_=True),
        recogniser=_recogniser(cfg, data),
        start=cfg.start,
    )
    return StudentRun(module, data.repeated(cfg.repeats))


def _teacher(cfg: DictConfig, words: Sequence[str], out: Path, trainer: "pl.Trainer") -> "TeacherRun":
    from idn.training.build import build_teacher_training
    from idn.training.run_kinds import TeacherRun

    data, encoder = build_pairs(cfg)
    module = build_teacher_training(
        data=data,
        encoder=encoder,
        network=build(cfg.teacher_network),
        discriminator=build(cfg.discriminator, _partial_=True),
        objective=build(cfg.teacher_loss),
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
        module=build(cfg.teacher_training, _partial_=True, clip=cfg.trainer.gradient_clip_val),
        licence=cfg.licence,
        recogniser=_recogniser(cfg, data),
    )
    return TeacherRun(module, data)


def _recogniser(cfg: DictConfig, data: "SwapData") -> "IdentityEncoder | None":
    """The encoder that only validates, if there is one that knows such faces.

    Its random initial weights come from a generator of their own: a run learns the same with it and without.
    """
    import torch

    if cfg.get("recogniser") is None:
        return None
    with torch.random.fork_rng(devices=[]):
        recogniser = build(cfg.recogniser)
    if not (data.photographs and getattr(recogniser, "drawn_only", False)):
        return recogniser
    print(
        "the recogniser knows drawn faces only and says nothing of photographs: recogniser=mobilefacenet "
        "recogniser.weights=FILE takes another encoder than the one that teaches, recogniser=null none",
        file=sys.stderr,
    )
    return None


def _encoder(cfg: DictConfig, words: Sequence[str], out: Path, trainer: "pl.Trainer") -> "EncoderRun":
    from idn.training.run_kinds import EncoderRun

    data = build(cfg.encoder_data)
    module = build(
        cfg.encoder_training,
        network=build(cfg.encoder_network),
        classes=data.classes,
        people=data.people,
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
    )
    return EncoderRun(module, data, cfg.licence, shlex.join(["idn", "train-encoder", *words]))


def _scorer(cfg: DictConfig, words: Sequence[str], out: Path, trainer: "pl.Trainer") -> "ScorerRun":
    from idn.data.loaders import StreamData
    from idn.reweighting.graded.pictures import collect
    from idn.training.build import check_acquainted
    from idn.training.modules.quality import QualityTraining
    from idn.training.resume import check_resume
    from idn.training.run_kinds import ScorerRun

    if HydraConfig.get().runtime.choices["graded"] == "snapshots":
        instead = "leave it out, or take graded=degradations"
        refuse_useless({"teacher": f"with graded=snapshots, which opens the teachers of graded.folder: {instead}"})
    source, (data, encoder) = build(cfg.graded), build_pairs(cfg)
    check_acquainted(data, encoder)
    check_resume(cfg.resume, trainer)
    module = QualityTraining(build(cfg.scorer), build(cfg.optim), build(cfg.schedule))
    data = source.attach(data, encoder, trainer.strategy.root_device)
    train = collect(source, data, "train", cfg.pairs, cfg.batch, out, cfg.seed)
    val = collect(source, data, "val", cfg.val_pairs, cfg.batch, out)
    command = shlex.join(["idn", "train-scorer", *words])
    return ScorerRun(module, StreamData(train, val, len(val)), source.kind, source.record, command)


Prepare = Callable[[DictConfig, Sequence[str], Path, "pl.Trainer"], "TrainingRun"]

RUNS: dict[str, Prepare] = {
    "train": _student,
    "train-teacher": _teacher,
    "train-encoder": _encoder,
    "train-scorer": _scorer,
}
"""By verb, what it trains."""
