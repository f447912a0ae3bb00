"""What each verb does with its composed config."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import assemble, assemble_frozen, build, build_trainer, conf_dir, run_dir
from idn.cli.overrides import check, overrides
from idn.cli.preflight import check_files, files, missing_files
from idn.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from idn.pipeline.pipeline import Stage

CACHE_GROUPS = ("data", "teacher", "encoder", "reweight")
"""Parts of a config that decide what a cache holds."""


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


def _bare_trainer(cfg: DictConfig) -> "pl.Trainer":
    """The trainer that a config describes, without loggers and callbacks: to look at before anything is loaded."""
    return build(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def _is_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def cache(cfg: DictConfig) -> None:
    """Ask a teacher about numbered pairs and keep its answers; an interrupted run is continued."""
    import pytorch_lightning as pl

    from idn.teacher_cache.shards import PictureFormat
    from idn.teacher_cache.write import write_cache
    from idn.training.summary import SHARED, repeated

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    groups = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in CACHE_GROUPS}
    groups["data"] = {name: value for name, value in groups["data"].items() if name not in ("workers", "cache")}
    groups["encoder"].pop("photographs", None)
    groups["reweight"] = {"scorer": groups["reweight"].get("scorer")}
    pictures = PictureFormat(cfg.picture_format, cfg.picture_quality)
    data, encoder, teacher, trust = assemble_frozen(cfg)
    write_cache(
        out=cfg.out,
        data=data,
        teacher=teacher,
        encoder=encoder,
        scorer=trust.scorer,
        pairs=cfg.pairs,
        pictures=pictures,
        shard_pairs=cfg.shard,
        seed=cfg.seed,
        options=groups | {name: cfg[name] for name in ("pairs", "shard")},
        device=cfg.device,
    )
    kept = repeated(HydraConfig.get().overrides.task, SHARED)
    print(f"next: idn train {kept}teacher=cached teacher.path={cfg.out}")


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


def align(cfg: DictConfig) -> None:
    """Find, align and crop the faces of a folder of photographs; say what was left out."""
    build(cfg.align)
    print(f"next: idn train data=faces data.root={cfg.dst} encoder=mobilefacenet encoder.weights=FILE teacher=blend")


def import_student(cfg: DictConfig) -> None:
    """Turn a published checkpoint into a student or encoder file of this project."""
    print(build(cfg.importer))


def teacher_files(weights_dir: str) -> dict[str, list[str]]:
    """By teacher, the files in `weights_dir` that its config asks for, its own first; "" for one only the user has."""
    found = {}
    for path in sorted((conf_dir() / "teacher").glob("*.yaml")):
        cfg = compose("train", [f"teacher={path.stem}"])
        cfg.weights_dir = weights_dir
        found[path.stem] = list(dict.fromkeys(files(cfg.teacher)))
    return found


def teachers(cfg: DictConfig) -> None:
    """List the teachers, or examine one."""
    from idn.training.build import check_acquainted

    known_files = teacher_files(cfg.weights_dir)
    if cfg.check is None:
        build(cfg.catalogue, files=known_files)
        return
    if cfg.check not in known_files:
        raise UserError(f"check={cfg.check} is no teacher: choose one of {', '.join(known_files)}")
    described = compose("train", [f"teacher={cfg.check}"])
    for key in ("data", "encoder", "weights_dir", "seed"):
        described[key] = cfg[key]
    if unknown := cfg.teacher.keys() - described.teacher.keys():
        known = ", ".join(key for key in described.teacher if key != "_target_")
        raise UserError(f"teacher={cfg.check} has no option {unknown.pop()}: choose one of {known}")
    described.teacher = OmegaConf.merge(described.teacher, cfg.teacher)
    if cfg.weights is not None:
        option = next((name for name in ("weights", "path") if name in described.teacher), None)
        if option is None:
            raise UserError(f"teacher={cfg.check} has no file: leave weights={cfg.weights} out")
        described.teacher[option] = cfg.weights
    if said := missing_files(f"teacher={cfg.check}", described.teacher, cfg.weights_dir):
        raise UserError(said)
    data, encoder = build(described.data), build(described.encoder)
    check_acquainted(data, encoder)
    teacher = build(described.teacher)
    build(cfg.examination, teacher=teacher, encoder=encoder, data=data)


def pipeline(cfg: DictConfig) -> None:
    """Run the stages of an experiment that are not finished yet, or rehearse them."""
    from idn.pipeline.pipeline import Pipeline, Stage

    if cfg.rehearsal:
        cfg.out = str(Path(cfg.out) / "rehearsal")
    typed = [word for word in HydraConfig.get().overrides.task if word.startswith("weights_dir=")]
    stages: dict[str, Stage | None] = {}
    for name, described in OmegaConf.to_container(cfg.stages, resolve=True, throw_on_missing=True).items():
        known = Stage.__dataclass_fields__
        if described is not None and (unknown := set(described) - set(known)):
            raise UserError(f"stages.{name} has no option {unknown.pop()}: choose one of {', '.join(known)}")
        stages[name] = described and _with_more(Stage(**described), cfg, typed)
    if cfg.rehearsal:
        Pipeline(stages, cfg.out, cfg.jobs, fresh=True).run()
        print("all stages run: the same command without rehearsal=true begins in earnest")
    else:
        Pipeline(stages, cfg.out, cfg.jobs).run()


def _with_more(stage: "Stage", cfg: DictConfig, typed: list[str]) -> "Stage":
    """The stage with the options that the config has for all stages and for all of its verb, all of which fit.

    typed: options of the pipeline itself that its stages share.
    """
    try:
        more = shlex.split(" ".join(filter(None, (cfg.more.all, cfg.more.get(stage.verb)))))
    except ValueError as error:
        raise UserError(f"more.all and more.{stage.verb} cannot be read ({error}): check their quotes") from error
    stage = replace(stage, options=(*cfg.shared, *typed, *stage.options, *more))
    if cfg.rehearsal:
        stage = stage.rehearsed(cfg.few.get(stage.verb, ()))
    try:
        options = overrides(stage.verb, stage.options, several=False)
        check(stage.verb, options)
        check_files(stage.verb, options)
    except UserError as error:
        raise UserError(f"in a stage of idn {stage.verb}, {error}") from error
    return stage
