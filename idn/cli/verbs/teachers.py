"""Verbs about teachers: `idn teachers` lists and examines them, `idn cache` keeps their answers."""

from collections.abc import Collection

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from idn.cli.instantiate import assemble_frozen, build, build_pairs
from idn.cli.next_commands import after_cache
from idn.cli.options.composition import choices, search
from idn.cli.options.preflight import files, missing_files
from idn.errors import OptionError, UserError

CACHE_GROUPS = ("data", "teacher", "encoder", "reweight")
"""Parts of a config that decide what a cache holds."""


def teachers(cfg: DictConfig) -> None:
    """List the teachers, or examine one."""
    known = teacher_configs(cfg.weights_dir)
    if cfg.check is None:
        from teachers.checks.listing import show_catalogue

        typed = [word for word in HydraConfig.get().overrides.task if not word.startswith(("weights_dir=", "check="))]
        if typed:
            raise UserError(f"{typed[0]} has no effect on the list: add check=NAME, the teacher to examine")
        wanted = {name: list(dict.fromkeys(files(config))) for name, config in known.items()}
        show_catalogue(wanted, {name: OmegaConf.to_container(config) for name, config in known.items()})
        return
    described = _described(cfg, known)
    from idn.training.build import check_acquainted
    from teachers.checks.report import examine_and_show

    data, encoder = build_pairs(described)
    check_acquainted(data, encoder)
    teacher = build(described.teacher)
    examine_and_show(teacher, encoder, data, device=cfg.device, rounds=cfg.rounds)


def _described(cfg: DictConfig, names: Collection[str]) -> DictConfig:
    """The config of a training with the teacher to be examined. UserError for options that it does not have."""
    if cfg.check not in names:
        raise UserError(f"check={cfg.check} is no teacher: choose one of {', '.join(names)}")
    described = compose("train", [*search(HydraConfig.get().overrides.hydra), f"teacher={cfg.check}"])
    for key in ("data", "encoder", "weights_dir", "seed"):
        described[key] = cfg[key]
    if unknown := cfg.teacher.keys() - described.teacher.keys():
        known = ", ".join(key for key in described.teacher if key != "_target_")
        raise UserError(f"teacher={cfg.check} has no option {unknown.pop()}: choose one of {known}")
    described.teacher = OmegaConf.merge(described.teacher, cfg.teacher)
    if cfg.weights is not None:
        option = next((name for name in ("weights", "path") if name in set(described.teacher)), None)
        if option is None:
            raise UserError(f"teacher={cfg.check} has no file: leave weights={cfg.weights} out")
        described.teacher[option] = cfg.weights
    if missing := sorted(OmegaConf.missing_keys(described.teacher)):
        key = missing[0].removeprefix("teacher.")
        wanted = "weights=PATH" if key in ("weights", "path") else f"+teacher.{key}=VALUE"
        raise UserError(f"teacher={cfg.check} has no {key} yet: give {wanted}")
    if said := missing_files(f"teacher={cfg.check}", described.teacher, cfg.weights_dir):
        raise UserError(said)
    return described


def teacher_configs(weights_dir: str) -> dict[str, DictConfig]:
    """The config of every teacher by its name, with its files in `weights_dir`; what it takes from others is open."""
    settings = HydraConfig.get()
    names = choices(settings, "teacher")
    every = [f"+teacher@{name}={name}" for name in names]  # in one config: composing takes a tenth of a second
    config = compose(overrides=[*search(settings.overrides.hydra), *every])
    with open_dict(config):
        config.weights_dir = weights_dir
    return {name: config[name] for name in names}


def cache(cfg: DictConfig) -> None:
    """Ask a teacher about numbered pairs and keep its answers; an interrupted run is continued."""
    import pytorch_lightning as pl

    from idn.teacher_cache.shards import PictureFormat
    from idn.teacher_cache.write import write_cache

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    groups = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in CACHE_GROUPS}
    groups["data"] = {name: value for name, value in groups["data"].items() if name not in ("workers", "cache")}
    groups["encoder"].pop("photographs", None)
    groups["reweight"] = {"scorer": groups["reweight"].get("scorer")}
    try:
        pictures = PictureFormat(cfg.picture_format, cfg.picture_quality)
    except OptionError as error:
        raise error.renamed(f"picture_{error.argument}") from None
    data, encoder, teacher, trust = assemble_frozen(cfg)
    write_cache(
        out=cfg.out,
        data=data,
        teacher=teacher,
        encoder=encoder,
        scorer=trust.scorer,
        pairs=cfg.pairs,
        pictures=pictures,
        shard=cfg.shard,
        seed=cfg.seed,
        options=groups | {name: cfg[name] for name in ("pairs", "shard")},
        device=cfg.device,
    )
    print(after_cache(cfg))
