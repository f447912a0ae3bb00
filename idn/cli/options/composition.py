"""Composing: the config of a verb with some options, and the config files behind it, with those of a search path."""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import Container, DictConfig, ListConfig, OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.options.types import leaves, selected
from idn.errors import UserError, shown

SEARCH = "hydra.searchpath="
"""Beginning of the option that adds folders or packages of config files."""
PATHS = ("out", "src", "dst", "start", "root", "path", "weights", "weights_dir", "prepared", "csv")
"""Options, by the last part of their names, that hold one path."""


@contextmanager
def composing() -> Iterator[None]:
    """Where configs can be composed, inside a run of Hydra's or outside."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def composed(verb: str, options: Sequence[str] = ()) -> tuple[DictConfig, DictConfig]:
    """The config of a verb with some options, and Hydra's own settings, neither of which can be changed.

    Raises what Hydra raises for options that do not make a config, and UserError for a search path that is not there.
    """
    return _written(verb, tuple(options), tuple(os.environ.items()))


@lru_cache(maxsize=32)  # a command asks for the same ones some ten times, and a copy takes as long as all else
def _written(
    verb: str, options: tuple[str, ...], _environment: tuple[tuple[str, str], ...]
) -> tuple[DictConfig, DictConfig]:
    """See `composed`. _environment: which paths may begin with."""
    config = _kept(verb, options)
    ours = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    write_paths(ours)
    OmegaConf.set_readonly(ours, True)
    return ours, config.hydra


def whole(verb: str, options: Sequence[str] = ()) -> DictConfig:
    """The same with Hydra's own settings in it, as a run in this folder begins with; may be changed."""
    config = deepcopy(_kept(verb, options))
    OmegaConf.clear_cache(config)  # of times that were told before
    config.hydra.runtime.cwd = os.getcwd()
    return config


def _kept(verb: str, options: Sequence[str]) -> DictConfig:
    return _searched(verb, tuple(options)) if search(options) else _ours(verb, tuple(options), _last_change())


@lru_cache(maxsize=1)
def _last_change() -> int:
    """Time of the latest change of a config file of this package, in ns; an editable installation may see some."""
    return max(path.stat().st_mtime_ns for path in conf_dir().rglob("*"))


@lru_cache(maxsize=128)
def _ours(verb: str, options: tuple[str, ...], _changed: int) -> DictConfig:
    return _composed(verb, options)


@lru_cache(maxsize=128)
def _searched(verb: str, options: tuple[str, ...]) -> DictConfig:
    return _composed(verb, options)


def _composed(verb: str, options: tuple[str, ...]) -> DictConfig:
    with composing(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "provider=.* is not available")  # said in one sentence below
        config = compose(verb, list(options), return_hydra_config=True)
    folders(config.hydra)
    return config


def _write_home(config: DictConfig) -> None:
    """Write out the user's home folder where a value begins with `~`: of a file of configs, or of the environment."""
    for name, node in leaves(config):
        items = enumerate(node._content) if isinstance(node, ListConfig) and not node._is_none() else [("", node)]
        for index, item in items if not node._is_missing() else ():
            if isinstance(item, Container) or not re.search(r"^~|\$\{oc\.env", str(item._value())):
                continue
            key = f"{name}[{index}]" if index != "" else name
            value = selected(config, key)
            if isinstance(value, str) and re.match("~(/|$)", value):
                OmegaConf.update(config, key, str(Path(value).expanduser()))


def write_paths(config: DictConfig) -> None:
    """Make words of paths: `~` becomes the user's home folder, 2026 the folder of that name.

    Raises UserError for one that is no single path.
    """
    _write_home(config)
    inner = (name for name, _ in leaves(config) if name.rpartition(".")[2] in PATHS)
    for name in dict.fromkeys([*filter(PATHS.__contains__, config), *inner]):
        value = selected(config, name)
        if isinstance(value, bool | ListConfig | DictConfig):
            raise UserError(f"{name}={shown(value)} is no path: give one file or folder")
        if value == "":
            raise UserError(f"{name}= names nothing: give one file or folder")
        if isinstance(value, int | float):
            OmegaConf.update(config, name, str(value))


def forget() -> None:
    """Compose anew what has changed, and what a search path is part of: for the next command of the same process."""
    _written.cache_clear()
    _searched.cache_clear()
    _last_change.cache_clear()


def search(options: Sequence[str]) -> list[str]:
    """Those of the options that say where else config files are."""
    return [option for option in options if option.startswith(SEARCH)]


def folders(settings: DictConfig) -> list[Traversable]:
    """The folders of config files of a composed config, in the order in which they are looked through.

    Raises UserError for one of the search path that is not there.
    """
    found: list[Traversable] = []
    for source in settings.runtime.config_sources:
        if source.provider in ("hydra", "schema"):
            continue
        try:
            folder = resources.files(source.path) if source.schema == "pkg" else Path(source.path)
        except (ImportError, TypeError, ValueError):  # what importlib raises for what is no package
            folder = None
        if folder is None or not folder.is_dir():
            kind = "package that can be imported" if source.schema == "pkg" else "folder"
            raise UserError(
                f"{SEARCH}[{source.schema}://{source.path}] is no {kind}: give pkg://PACKAGE.FOLDER or file:///FOLDER"
            )
        found.append(folder)
    return found


def groups(settings: DictConfig) -> set[str]:
    """The names of all groups of config files."""
    return {path.name for folder in folders(settings) for path in folder.iterdir() if path.is_dir()}


def chosen_groups(verb: str, settings: DictConfig) -> set[str]:
    """The groups of which the config of a verb takes files; others may have the name of one of its options."""
    entries = OmegaConf.create(text_of(settings, verb)).defaults
    return {str(group) for entry in entries if OmegaConf.is_dict(entry) for group in entry}


def choices(settings: DictConfig, group: str) -> dict[str, Traversable]:
    """By name, the files that can be chosen in a group, in alphabetical order."""
    found: dict[str, Traversable] = {}
    for folder in folders(settings):
        here = folder.joinpath(group)
        for path in here.iterdir() if here.is_dir() else ():
            if path.name.endswith(".yaml"):
                found.setdefault(path.name.removesuffix(".yaml"), path)
    return dict(sorted(found.items()))


def text_of(settings: DictConfig, path: str) -> str | None:
    """The text of a config file, such as "data/faces"; None if it is Hydra's own."""
    for folder in folders(settings):
        file = folder.joinpath(f"{path}.yaml")
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None
