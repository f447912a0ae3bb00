"""Verbs that train: `idn train`, `idn train-teacher`, `idn train-encoder`, `idn train-scorer`."""

import shlex
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from idn.cli.instantiate import assemble, build, build_trainer, run_dir
from idn.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl


def train(cfg: DictConfig) -> float:
    """Distil a student from a frozen teacher. Returns the metric that sweeps optimise."""
    import pytorch_lightning as pl

    from idn.training.fit import fit
    from idn.training.multi_process import check_processes, united

    check_processes(_bare_trainer(cfg), _is_sweep())
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module, data = assemble(cfg)
    options, trainer = HydraConfig.get().overrides.task, build_trainer(cfg)
    with united(trainer):
        return fit(trainer, module, data, out=run_dir(), resume=cfg.resume, metric=cfg.metric, options=options)


def train_teacher(cfg: DictConfig) -> float:
    """Train a swapper that can become a teacher. Returns the metric that sweeps optimise."""
    import pytorch_lightning as pl

    from idn.training.build import build_teacher_training
    from idn.training.fit import fit_swapper
    from idn.training.modules.adversarial import check_trainer

    check_trainer(_bare_trainer(cfg))
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build(cfg.data)
    module = build_teacher_training(
        data=data,
        encoder=build(cfg.encoder),
        network=build(cfg.teacher_network),
        discriminator=build(cfg.discriminator),
        objective=build(cfg.teacher_loss),
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
        module=build(cfg.teacher_training, _partial_=True),
    )
    options = HydraConfig.get().overrides.task
    return fit_swapper(
        build_trainer(cfg), module, data, out=run_dir(), resume=cfg.resume, metric=cfg.metric, options=options
    )


def train_encoder(cfg: DictConfig) -> float:
    """Train an identity encoder. Returns its verification accuracy."""
    import pytorch_lightning as pl

    from idn.training.fit import fit_recogniser
    from idn.training.multi_process import check_processes, united

    check_processes(_bare_trainer(cfg), _is_sweep())
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build(cfg.encoder_data)
    module = build(
        cfg.encoder_training,
        network=build(cfg.encoder_network),
        classes=data.classes,
        people=data.people,
        optimizer=build(cfg.optim),
        schedule=build(cfg.schedule),
    )
    command, trainer = shlex.join(["idn", "train-encoder", *HydraConfig.get().overrides.task]), build_trainer(cfg)
    with united(trainer):
        return fit_recogniser(
            trainer, module, data, out=run_dir(), resume=cfg.resume, licence=cfg.licence, command=command
        )


def train_scorer(cfg: DictConfig) -> float:
    """Train a quality scorer. Returns its loss on held-out people."""
    import pytorch_lightning as pl

    from idn.data.loaders import StreamData
    from idn.reweighting.graded.pictures import collect
    from idn.training.build import check_acquainted
    from idn.training.fit import check_resume, fit_scorer
    from idn.training.modules.quality import QualityModule
    from idn.training.multi_process import check_single

    check_single(_bare_trainer(cfg), "train-scorer", "one process makes the pictures to learn from")
    chosen = HydraConfig.get()
    if chosen.runtime.choices["graded"] == "snapshots" and (
        typed := [word for word in chosen.overrides.task if word.startswith(("teacher=", "teacher."))]
    ):
        raise UserError(
            f"{typed[0]} has no effect with graded=snapshots, which opens the teachers of graded.folder: leave it out, "
            "or take graded=degradations"
        )
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source, data, encoder = build(cfg.graded), build(cfg.data), build(cfg.encoder)
    check_acquainted(data, encoder)
    trainer = build_trainer(cfg)
    check_resume(cfg.resume, trainer)
    module = QualityModule(build(cfg.scorer), build(cfg.optim), build(cfg.schedule))
    data = source.attach(data, encoder, trainer.strategy.root_device)
    train = collect(source, data, "train", cfg.pairs, cfg.batch, run_dir(), cfg.seed)
    val = collect(source, data, "val", cfg.val_pairs, cfg.batch, run_dir())
    return fit_scorer(
        trainer,
        module,
        StreamData(train, val, len(val)),
        out=run_dir(),
        resume=cfg.resume,
        kind=source.kind,
        record=source.record,
        command=shlex.join(["idn", "train-scorer", *HydraConfig.get().overrides.task]),
    )


def _bare_trainer(cfg: DictConfig) -> "pl.Trainer":
    """The trainer that a config describes, without loggers and callbacks: to look at before anything is loaded."""
    return build(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def _is_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN
