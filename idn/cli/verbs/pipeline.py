"""The verb that runs others: `idn pipeline`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.options.near_misses import check
from idn.cli.options.overrides import overrides
from idn.cli.options.preflight import check_files
from idn.cli.verbs.table import VERBS
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_bool, require_one_of, require_words

if TYPE_CHECKING:
    from idn.pipeline.pipeline import Stage


def pipeline(cfg: DictConfig) -> None:
    """Run the stages of an experiment that are not finished yet, or rehearse them."""
    from idn.pipeline.pipeline import Pipeline

    for name in ("stages", "more", "few"):
        if not OmegaConf.is_dict(cfg[name]):
            raise OptionError(
                name, cfg[name], f"must be a group of options: change single ones, as in {name}.NAME=VALUE"
            )
    require_words("shared", cfg.shared)
    require_bool("rehearsal", cfg.rehearsal)
    if cfg.rehearsal:
        cfg.out = str(Path(cfg.out) / "rehearsal")
    typed = [word for word in HydraConfig.get().overrides.task if word.startswith("weights_dir=")]
    stages: dict[str, Stage | None] = {}
    for name, described in OmegaConf.to_container(cfg.stages, resolve=True, throw_on_missing=True).items():
        stages[name] = None if described is None else _with_more(_stage(name, described), cfg, typed)
    if cfg.rehearsal:
        Pipeline(stages, cfg.out, cfg.jobs, fresh=True).run()
        print("all stages run: the same command without rehearsal=true begins in earnest")
    else:
        Pipeline(stages, cfg.out, cfg.jobs).run()


def _stage(name: str, described: Any) -> "Stage":
    """One stage of a config. Raises UserError for options that a stage does not have, and OptionError for values."""
    from idn.pipeline.pipeline import Stage

    if not isinstance(described, dict):
        wanted = "must be a group of options, such as {verb:train,seeds:[0,1]}: words that hold = want quotes in it"
        raise OptionError(f"stages.{name}", described, wanted)
    known = Stage.__dataclass_fields__
    if unknown := sorted(described.keys() - known.keys(), key=str):
        raise UserError(f"stages.{name} has no option {unknown[0]}: choose one of {', '.join(known)}")
    try:
        require_one_of("verb", described.get("verb"), VERBS)
        return Stage(**described)
    except OptionError as error:
        raise error.renamed(f"stages.{name}.{error.argument}") from None


def _with_more(stage: "Stage", cfg: DictConfig, typed: list[str]) -> "Stage":
    """The stage with the options that the config has for all stages and for all of its verb, all of which fit.

    typed: options of the pipeline itself that its stages share.
    """
    given = {"more.all": cfg.more.all, f"more.{stage.verb}": cfg.more.get(stage.verb)}
    for name, words in given.items():
        if not isinstance(words, str | None):
            raise OptionError(name, words, "must be the options of a stage as words, such as 'optim.lr=0.5'")
    try:
        more = shlex.split(" ".join(filter(None, given.values())))
    except ValueError as error:
        raise UserError(f"more.all and more.{stage.verb} cannot be read ({error}): check their quotes") from error
    stage = replace(stage, options=(*cfg.shared, *typed, *stage.options, *more))
    if cfg.rehearsal:
        few = cfg.few.get(stage.verb, ())
        require_words(f"few.{stage.verb}", few)
        stage = stage.rehearsed(few)
    try:
        options = overrides(stage.options, several=False)
        check(stage.verb, options)
        check_files(stage.verb, options)
    except UserError as error:
        raise UserError(f"in a stage of idn {stage.verb}, {error}") from error
    return stage
