"""Defaults of constructors are those of the configs: who copies a signature gets the recipe of the command line."""

import importlib
import inspect
from collections import defaultdict
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from idn.cli import VERBS, conf_dir

CONF = conf_dir()
FILES = sorted(path for path in CONF.glob("**/*.yaml") if path.parent.name not in ("experiment", "recipe"))
NAMES_A_FILE = {"sha256", "file_bytes"}
"""Arguments that describe one file of weights: no default could."""
FOLLOWS = {("SimSwapTeacher", "template")}
"""Arguments whose None stands for what another argument implies, which the configs spell out."""
FREE = object()
"""Stands for a value that a config takes from elsewhere, or wants to be given."""


def nodes(config: Any) -> list[DictConfig]:
    """Those parts of a file that build something of ours."""
    if not isinstance(config, DictConfig):
        return []
    inner = [found for key in config for found in nodes(config._get_node(key))]
    ours = str(config.get("_target_", "")).startswith(("idn.", "teachers."))
    return [config, *inner] if ours else inner


def plain(value: Any) -> Any:
    return tuple(plain(one) for one in value) if isinstance(value, list | tuple) else value


def given(node: DictConfig, key: str, default: Any) -> Any:
    """What a config says of an argument; one that is left out has its default."""
    if key not in node:
        return plain(default)
    raw = node._get_node(key)
    if raw._is_interpolation() or raw._is_missing() or (OmegaConf.is_config(raw) and "_target_" in raw):
        return FREE
    return plain(OmegaConf.to_container(raw) if OmegaConf.is_config(raw) else raw._value())


def by_target() -> dict[str, list[DictConfig]]:
    """What every config file says of a constructor, and what every verb does without options."""
    found = defaultdict(list)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = [compose(verb) for verb in sorted(VERBS)]
    for config in [*(OmegaConf.load(path) for path in FILES), *composed]:
        for node in nodes(config):
            found[node["_target_"]].append(node)
    return found


BY_TARGET = by_target()


@pytest.mark.parametrize("target", sorted(BY_TARGET))
def test_a_default_is_what_a_config_recommends(target: str) -> None:
    """Of a constructor that one config names: what it says. Of one that several name: what one of them says."""
    module, name = target.rsplit(".", 1)
    wrong = {}
    for key, parameter in inspect.signature(getattr(importlib.import_module(module), name)).parameters.items():
        if parameter.default is inspect.Parameter.empty or key in NAMES_A_FILE or (name, key) in FOLLOWS:
            continue
        values = [given(node, key, parameter.default) for node in BY_TARGET[target]]
        if FREE not in values and plain(parameter.default) not in values:
            wrong[key] = (parameter.default, values)
    assert wrong == {}


def test_every_constructor_of_a_config_is_looked_at() -> None:
    assert len(BY_TARGET) > 40 and "idn.training.modules.swap_training.SwapTraining" in BY_TARGET
