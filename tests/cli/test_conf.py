"""Every config file composes, names a real constructor, and gives only parameters that it has."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf

from idn.cli import VERBS, conf_dir

CONF = conf_dir()
GROUP_FILES = sorted(p for p in CONF.glob("*/**/*.yaml") if p.parent.name != "experiment")
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))


def composed(verb: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(verb, [*overrides])


def targets(node: Any) -> list[DictConfig]:
    found = []
    if isinstance(node, DictConfig):
        if "_target_" in node:
            found.append(node)
        children = [node._get_node(key) for key in node]
        found += [t for child in children for t in targets(child)]
    elif isinstance(node, ListConfig):
        found += [t for index in range(len(node)) for t in targets(node._get_node(index))]
    return found


def check(node: DictConfig) -> None:
    module, name = node["_target_"].rsplit(".", 1)
    constructor = getattr(importlib.import_module(module), name)
    accepted = inspect.signature(constructor).parameters
    given = [key for key in node if key not in ("_target_", "_partial_", "_convert_", "defaults")]
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        assert set(given) <= set(accepted), f"{node['_target_']} has no parameter {set(given) - set(accepted)}"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_entry_configs_compose(verb: str) -> None:
    for node in targets(composed(verb)):
        check(node)


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_group_files_name_constructors_that_take_their_options(path: Path) -> None:
    found = targets(OmegaConf.load(path))
    assert found or "defaults" in OmegaConf.load(path)
    for node in found:
        check(node)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_overrides_that_compose(name: str) -> None:
    raw = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    assert not targets(raw), "an experiment only overrides"
    others = [other for other in raw.get("defaults", []) if isinstance(other, str) and other != "_self_"]
    files = [raw, *(OmegaConf.load(CONF / "experiment" / f"{other}.yaml") for other in others)]
    verb = "pipeline" if any("stages" in file for file in files) else "train"
    needs_root = any(OmegaConf.is_missing(file, "root") for file in files)
    cfg = composed(verb, f"experiment={name}", *(["root=photos"] if needs_root else []))
    for node in targets(cfg):
        check(node)
    for stage in cfg.get("stages", {}).values():
        for node in targets(composed(stage.verb, *cfg.shared, *stage.get("options", []))):
            check(node)


def test_installed_and_checked_out_configs_are_the_same_tree() -> None:
    assert (CONF / "train.yaml").is_file() and (CONF / "base.yaml").is_file()
