"""Python API of the verbs that train: `idn.build` and `idn.train` compose and build as the command line does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.instantiate import register_resolvers
from idn.cli.new_folder import claimed
from idn.cli.options.composition import forget, write_paths
from idn.cli.options.near_misses import check
from idn.cli.options.overrides import overrides
from idn.cli.options.preflight import check_needs
from idn.cli.trainings import RUNS, build_run, run_training
from idn.errors import OptionError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from idn.training.fit import Result


def build(verb: str, words: Sequence[str]) -> "tuple[pl.LightningModule, pl.LightningDataModule]":
    """See `idn.build`."""
    options = _checked(verb, words)
    with _hydra():
        cfg = compose(verb, options, return_hydra_config=True)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)
        try:
            ours = _without_hydra(cfg)
            write_paths(ours)
            run = build_run(verb, ours, options, Path(str(cfg.hydra.run.dir)))
        finally:
            HydraConfig.instance().cfg = before
    return run.module, run.data


def train(words: Sequence[str], verb: str) -> "Result":
    """See `idn.train`."""
    options, results, errors = _checked(verb, words), [], []
    check_needs(verb, options, several=False)
    options += claimed(verb, options, several=False)

    def task(cfg: DictConfig) -> None:
        write_paths(cfg)
        try:
            results.append(run_training(verb, cfg))
        except Exception as error:  # Hydra would print something of its own before it raised it
            errors.append(error)

    with _hydra():
        GlobalHydra.instance().hydra.run(verb, task, options, with_log_configuration=False)
    if errors:
        raise errors[0]
    return results[0]


def _checked(verb: str, words: Sequence[str]) -> list[str]:
    if verb not in RUNS:
        raise OptionError("verb", verb, f"trains nothing: choose one of {', '.join(RUNS)}")
    forget()
    options = overrides(words, several=False)
    check(verb, options)
    return options


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra over our own configs, as it was before afterwards."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def _without_hydra(cfg: DictConfig) -> DictConfig:
    ours = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    OmegaConf.set_struct(ours, True)
    return ours
